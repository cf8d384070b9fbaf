"""Payloads of every kind, valid and nearly so, and commands: the same ones for the same seed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from real_xen.blocks import boot_call, boot_variables, bug_frame, reads_structure
from real_xen.choice import Choice
from real_xen.recipe import Plot, Recipe, can_be_made
from real_xen.targets import CODE_SYMBOLS, DATA_SYMBOLS, IDLE_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsplice_loader import Hypervisor

ADDENDS = (
    0, 1, -1, -4, -5, -8, 127, -128, 4096, (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1, 1 << 32, (1 << 63) - 1,
    -(1 << 63),
)  # fmt: skip
RELOCATION_TYPES = (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 14, 15, 24, 25, 26, 37, 41, 42, 43, 255, 256, 0xFFFF_FFFF)
SECTIONS = (
    ".text", ".rodata", ".data", ".bss", ".livepatch.funcs", ".livepatch.depends", ".livepatch.xen_depends",
    ".note.gnu.build-id", ".rela.text", ".rela.livepatch.funcs", ".symtab", ".strtab", ".shstrtab", ".altinstructions",
    ".altinstr_replacement", ".ex_table", ".bug_frames.1", ".modinfo", ".livepatch.hooks.load", ".rodata.str",
    ".livepatch.hooks.preapply", ".rela.altinstructions", "[0]", "[1]", "[2]", "[3]",
)  # fmt: skip
SECTION_FIELDS = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "addralign", "entsize")
HEADER_FIELDS = (
    "type", "machine", "version", "entry", "phoff", "shoff", "flags", "ehsize", "phentsize", "phnum", "shentsize",
    "shnum", "shstrndx", "ei_mag", "ei_class", "ei_data", "ei_version", "ei_osabi", "ei_abiversion",
)  # fmt: skip
HOOKS = ("load", "unload", "preapply", "apply", "postapply", "prerevert", "revert", "postrevert")
# As numbers `word * 32 + bit`: the one that every processor has, two that all have and two that the emulated one lacks,
# and where Xen's array ends.
FEATURES = (93, 0, 32, 5 * 32 + 20, 7 * 32, 511, 512, 0x4000, 0x8000 + 93, 0xFFFF)
ID_SIZE = 20
SCRIPT_EVERY = 6
SAME_FUNCTION = 0.4  # of the scripts


class Generator:
    """Makes plots for one hypervisor."""

    def __init__(self, hypervisor: Hypervisor, seed: int) -> None:
        self._hypervisor = hypervisor
        self._build_id = hypervisor.build_id or b""
        self._seed = seed
        self._functions = self._known(IDLE_FUNCTIONS)
        self._data = self._known(DATA_SYMBOLS)
        self._code = self._known(CODE_SYMBOLS)
        self._boot_variables = boot_variables(hypervisor)

    def _known(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if self._hypervisor.symbols.address_of(name.encode()) is not None)

    def plot(self, number: int) -> Plot:
        """Return the plot of a number; every sixth is a script."""
        name = f"soak-{self._seed}-{number}"
        kind = self._script if number % SCRIPT_EVERY == SCRIPT_EVERY - 1 else self._payload
        # Parts do not always go together: a section cannot be begun with two sorts of flags.
        plots = (kind(name, Choice(f"{self._seed}-{number}-{attempt}")) for attempt in itertools.count())
        return next(plot for plot in plots if can_be_made(plot, self._build_id))

    def _payload(self, name: str, choose: Choice) -> Plot:
        recipe = self._recipe("p", choose, "xen", "sha1", faults=choose.choice((0, 0, 1, 1, 2)))
        uploaded_as = choose.choice(("", "", "", "", "", "", "x" * 126, "y" * 127, "z" * 128, "a b", "ü", "%s"))
        return self._with_damages(Plot(name, (recipe._replace(name=uploaded_as or "p"),)), choose)

    def _script(self, name: str, choose: Choice) -> Plot:
        count = choose.randint(1, 4)
        recipes = []
        below = "xen"
        # A function that all of them replace, each on top of what the one below made of it.
        patched = choose.choice(self._functions) if choose.random() < SAME_FUNCTION else None
        for index in range(count):
            own = bytes([0xA0 + index]).hex() * ID_SIZE
            depends = below if choose.random() < 0.8 else choose.choice(("xen", "b1" * ID_SIZE))
            recipe = self._recipe(f"p{index}", choose, depends, own, faults=int(choose.random() < 0.15))
            if patched is not None:
                block = self._replacement(choose, f"p{index}_same", patched)
                recipe = recipe._replace(blocks=(block, *recipe.blocks))
            recipes.append(recipe)
            below = own
        names = [recipe.name for recipe in recipes]
        commands: list[tuple[str, ...]] = []
        for uploaded in names:
            commands += [("upload", uploaded, f"{uploaded}.livepatch")] * (choose.random() < 0.9)
            commands += [("apply", uploaded)] * (choose.random() < 0.6)
        commands += [self._command(choose, names) for _ in range(choose.randint(1, 10))]
        return Plot(name, tuple(recipes), tuple(commands))

    def _command(self, choose: Choice, names: list[str]) -> tuple[str, ...]:
        name = choose.choice([*names, *names, *names, "nobody"])
        odd: tuple[tuple[str, ...], ...] = (
            ("list",), ("list", "x"), ("help",), ("upl", name, f"{name}.livepatch"), ("upload", name),
            ("upload", name, "missing.livepatch"), ("apply", name, "--nodeps", "--nodeps"), ("apply", name, "--force"),
            ("revert", name, "--nodeps"), ("unload",), ("--force", "apply", name), ("bogus",), ("r", name),
            ("upload", "n" * 129, f"{name}.livepatch"), ("upload", "", f"{name}.livepatch"),
            ("xl", "debug-keys", "x"), ("load", f"{name}.livepatch", "--nodeps"),
        )  # fmt: skip
        usual: tuple[tuple[str, ...], ...] = (
            ("apply", name), ("apply", name), ("apply", name, "--nodeps"), ("revert", name), ("revert", name),
            ("replace", name), ("unload", name), ("upload", name, f"{name}.livepatch"),
            ("load", f"{name}.livepatch"),
        )  # fmt: skip
        return choose.choice(odd if choose.random() < 0.15 else usual)

    def _recipe(self, name: str, choose: Choice, depends: str, build_id: str, *, faults: int) -> Recipe:
        """Return a payload of a few functions and whatever else payloads have; `faults`: odd parts among them."""
        usual: list[Callable[[Choice, str], str]] = [self._replacement] * 3
        usual += [self._nops, self._data_section, self._hook, self._metadata, self._warning, self._exception]
        usual += [self._alternative, self._relocations, self._expectation, self._filler, self._symbols]
        usual += [bug_frame, reads_structure] * 2 + [self._boot_call] * (3 if self._boot_variables else 0)
        odd: list[Callable[[Choice, str], str]] = [
            self._odd_relocation, self._odd_function, self._odd_section, self._odd_table, self._odd_symbol,
            self._odd_alternative, self._odd_hook,
        ]  # fmt: skip
        blocks = [self._replacement(choose, f"{name}_0")] if choose.random() < 0.85 else []
        blocks += [choose.choice(usual)(choose, f"{name}_{index + 1}") for index in range(choose.randint(0, 5))]
        blocks += [choose.choice(odd)(choose, f"{name}_odd{index}") for index in range(faults)]
        choose.shuffle(blocks)
        identity = [f"        .livepatch_depends {depends}", "        .livepatch_xen_depends xen"]
        identity.append(f"        .build_id {build_id}")
        if faults and choose.random() < 0.1:
            identity[choose.randrange(3)] = self._odd_identity(choose)
        return Recipe(name, (*blocks, *identity))

    def _with_damages(self, plot: Plot, choose: Choice) -> Plot:
        """Return the plot with a few damages that its payload can have."""
        for _ in range(choose.choice((0, 0, 1, 1, 1, 2, 3))):
            (recipe,) = plot.recipes
            damage = self._damage(choose)
            worse = plot._replace(recipes=(recipe._replace(damages=(*recipe.damages, damage)),))
            if can_be_made(worse, self._build_id):
                plot = worse
        return plot

    def _damage(self, choose: Choice) -> str:
        kind = choose.random()
        edge = choose.edge()
        if kind < 0.55:
            field = choose.choice(SECTION_FIELDS)
            values = {
                "type": (0, 1, 2, 3, 4, 7, 8, 9, 11, 14, 17, 0x6FFF_FFF6, edge),
                "flags": (0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x12, 0x22, 0x30, 0x42, 0x82, 0x200, 0x402, edge),
                "link": (*range(12), edge),
                "info": (*range(12), edge),
                "addralign": (0, 1, 2, 3, 4, 8, 16, 48, 64, 4096, 8192, 1 << 21, edge),
                "entsize": (0, 1, 8, 16, 23, 24, 25, 48, edge),
            }.get(field, (edge, choose.edge(), choose.randrange(512)))
            return f"section {choose.choice(SECTIONS)} {field} {choose.choice(values)}"
        if kind < 0.7:
            return f"header {choose.choice(HEADER_FIELDS)} {choose.choice((edge, edge, choose.randrange(70)))}"
        if kind < 0.82:
            field = choose.choice(("name", "info", "other", "shndx", "value", "size"))
            values = {
                "shndx": (*range(12), 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF),
                "info": tuple(binding << 4 | kind for binding in (0, 1, 2, 10, 15) for kind in range(8)),
            }.get(field, (edge,))
            return f"symbol [{choose.randrange(12)}] {field} {choose.choice(values)}"
        if kind < 0.95:
            table = choose.choice((".rela.text", ".rela.livepatch.funcs", ".rela.altinstructions"))
            field = choose.choice(("offset", "type", "symbol", "addend"))
            value = {
                "offset": choose.choice((edge, choose.randrange(64), choose.randrange(256))),
                "type": choose.choice(RELOCATION_TYPES),
                "symbol": choose.choice((*range(16), edge & 0xFFFF_FFFF)),
                "addend": choose.choice(ADDENDS),
            }[field]
            return f"rela {table} {choose.randrange(3)} {field} {value}"
        if kind < 0.98:
            place = choose.choice(SECTIONS[:-4])
            return f"bytes {place} {choose.randrange(64)} {choose.randbytes(choose.randint(1, 4)).hex()}"
        return f"truncate {choose.choice((-1, -8, -64, -65, 0, 1, 16, 63, 64, 65, choose.randrange(2000)))}"

    # What follows are blocks of assembly; `at` is a name of the block's own.

    def _replacement(self, choose: Choice, at: str, patched: str | None = None) -> str:
        filler = choose.choice(("", "nop", "call strlen@PLT", "cmpl $0, system_state(%rip)", "endbr64"))
        given = f", {self._address(choose, self._functions):#x}" if choose.random() < 0.15 else ""
        label = choose.choice((f".L{at}", f"new_{at}"))
        function = patched or choose.choice(self._functions)
        return f"""
        .text
        .balign {choose.choice((1, 4, 16, 16, 64))}
        .type {label}, @function
{label}:
        {"endbr64" if filler == "endbr64" else ""}
        xor     %eax, %eax
        ret
        {filler if filler != "endbr64" else ""}
        .size {label}, . - {label}
        .livepatch_func "{function}", {label}, {choose.choice((5, 8, 9, 16, 31, 64))}{given}
"""

    def _address(self, choose: Choice, names: Sequence[str]) -> int:
        return self._hypervisor.symbols.address_of(choose.choice(names).encode()) or 0

    def _nops(self, choose: Choice, at: str) -> str:
        size = choose.choice((1, 4, 5, 6, 7, 8, 9, 10, 13, 18, 27, 30, 31))
        return f'        .livepatch_func "{choose.choice(self._functions)}", 0, {choose.randint(size, 64)}, 0, {size}\n'

    def _data_section(self, choose: Choice, at: str) -> str:
        name, flags, kind = choose.choice((
            (f".data.{at}", "aw", "@progbits"), (f".bss.{at}", "aw", "@nobits"), (f".rodata.{at}", "a", "@progbits"),
            (".data", "aw", "@progbits"), (".bss", "aw", "@nobits"), (f".comment.{at}", "", "@progbits"),
        ))  # fmt: skip
        size = choose.choice((0, 1, 3, 8, 100, 4095, 4096, 4097, 9000))
        body = f".zero {size}" if kind == "@nobits" or not size else f".zero {size - 1}\n        .byte {size & 255}"
        return f"""
        .pushsection {name}, "{flags}", {kind}
        .balign {choose.choice((1, 2, 8, 32, 64, 4096))}
        {body}
        .popsection
"""

    def _hook(self, choose: Choice, at: str) -> str:
        kind = choose.choice(HOOKS)
        code = choose.choice((
            "xor %eax, %eax\n        ret", "xor %eax, %eax\n        ret", "mov $-22, %eax\n        ret",
            "mov $-16, %eax\n        ret", "mov $7, %eax\n        ret", "mov $-11, %eax\n        ret",
        ))  # fmt: skip
        return f"""
        .text
.Lhook_{at}:
        {code}
        .livepatch_hook {kind}, .Lhook_{at}
"""

    def _metadata(self, choose: Choice, at: str) -> str:
        return f'        .modinfo "{choose.choice(("author", "k" * 70, "%s%n"))}={choose.choice(("", "x", "a;b"))}"\n'

    def _warning(self, choose: Choice, at: str) -> str:
        return f"""
        .text
        .xen_warn "{at}.c", {choose.choice((0, 1, 127, 128, 16383))}
"""

    def _exception(self, choose: Choice, at: str) -> str:
        return f"""
        .text
.Lfault_{at}:
        mov     (%rdi), %eax
.Lgoon_{at}:
        ret
        .xen_exception .Lfault_{at}, .Lgoon_{at}
"""

    def _alternative(self, choose: Choice, at: str) -> str:
        old, new = choose.choice((
            (".byte 0x0f, 0x1f, 0x00", "stac"), ("add $16, %rax", "xor %eax, %eax"), ("call strlen@PLT", ""),
            (".zero 9, 0x90", "call strlen@PLT"), (".zero 5, 0xcc", "jmp strlen@PLT"), (".zero 254, 0x90", "ud2"),
        ))  # fmt: skip
        return f"""
        .text
        .xen_alternative "{old}", "{new}", {choose.choice(FEATURES[:6])}
"""

    def _relocations(self, choose: Choice, at: str) -> str:
        code, data = choose.choice(self._code), choose.choice(self._data)
        return f"""
        .pushsection .rodata.{at}, "a", @progbits
        .balign {choose.choice((1, 8))}
.Lhere_{at}:
        .quad {code}, {data} + {choose.choice((0, 8, -8, 1 << 33))}
        .long {data} - .
        .long .Lhere_{at} - .
        .quad .Lhere_{at} + {choose.randrange(100)}
        .popsection
"""

    def _expectation(self, choose: Choice, at: str) -> str:
        function = choose.choice(self._functions)
        size = choose.choice((1, 4, 5, 8, 16, 31))
        address = self._hypervisor.symbols.address_of(function.encode()) or 0
        contents = self._hypervisor.at_run_time.as_linked(address, size) or bytes(size)
        if choose.random() < 0.25:
            contents = choose.randbytes(size)
        return f"""
        .text
.Lexp_{at}:
        xor     %eax, %eax
        ret
        .livepatch_func "{function}", .Lexp_{at}, {choose.choice((31, 31, 32, 16))}, 0, 3
        .livepatch_expect {contents.hex()}
"""

    def _filler(self, choose: Choice, at: str) -> str:
        return f"        .text\n        .zero {choose.choice((1, 100, 4000, 5000))}, 0xcc\n"

    def _symbols(self, choose: Choice, at: str) -> str:
        return f"""
        .pushsection .data.sym_{at}, "aw", @progbits
        .globl  var_{at}
        .type   var_{at}, @object
var_{at}:
        .quad   var_{at}
        .size   var_{at}, 8
        .popsection
        .set    abs_{at}, {choose.choice((0, 1, 0x1234, 1 << 40))}
"""

    def _boot_call(self, choose: Choice, at: str) -> str:
        release = self._hypervisor.own_release
        return boot_call(choose, at, self._boot_variables, has_call_sites=release.has_alternative_calls)

    def _odd_relocation(self, choose: Choice, at: str) -> str:
        target = choose.choice((*self._code, *self._data, f".Lodd_{at}", f".Lodd_{at}", "0", f"far_{at}"))
        target += "" if target == "0" else f" + {choose.choice(ADDENDS)}"
        offset = choose.choice((0, 1, 3, 4, 5, 7, 8, 9, 12, 13, 16, 4096, 1 << 32, (1 << 64) - 4, (1 << 64) - 8))
        return f"""
        .set    far_{at}, {choose.choice((0x1000, 0x7FFF_0000, 0x1_0000_0000, 0xFFFF_8300_0000_0000))}
        .pushsection .rodata.{at}, "{choose.choice(("a", "a", "aw", ""))}", @progbits
.Lodd_{at}:
        .zero   16
        .reloc  {offset}, {choose.choice(RELOCATION_TYPES)}, {target}
        .popsection
"""

    def _odd_function(self, choose: Choice, at: str) -> str:
        old = choose.choice((
            "0", "0", f".L{at}", "0x1000", "0xffff82d000000000", "0xffff82d080000000", "0xffff82c000000000",
            f"{self._address(choose, self._data):#x}", f"{self._address(choose, self._functions) + 1:#x}",
        ))  # fmt: skip
        name = choose.choice((*self._functions, "no_such_function", "", "strlen", "system_state", "%s"))
        old_size = choose.choice((0, 1, 4, 5, 8, 9, 31, 0xFFFF_FFFF))
        new = choose.choice((f".L{at}", "0"))
        size = choose.choice((0, 1, 3, 4, 5, 8, 31, 32, 0x7FFF_FFFF))
        return f"""
        .text
        .type   .L{at}, @function
.L{at}:
        ret
        .size   .L{at}, . - .L{at}
        .livepatch_func "{name}", {new}, {old_size}, {old}, {size}, {choose.choice((1, 2, 2, 2, 3, 0))}
"""

    def _odd_section(self, choose: Choice, at: str) -> str:
        name = choose.choice((
            f".text.{at}", ".text", ".rodata", ".livepatch.funcs", ".fixup", ".altinstr_replacement", ".bug_frames.0",
            ".bug_frames.2", ".bug_frames.3", ".livepatch.strings", f".{at}", ".ex_table", ".init.text",
            ".livepatch.hooks.apply", ".alt_call_sites",
        ))  # fmt: skip
        flags = choose.choice(("", "a", "ax", "aw", "awx", "w", "x", "aMS"))
        return f"""
        .pushsection {name}, "{flags}", @progbits{", 1" if "M" in flags else ""}
        .balign {choose.choice((1, 4, 8))}
        .zero   {choose.choice((0, 1, 8, 16, 24, 104))}
        .popsection
"""

    def _odd_table(self, choose: Choice, at: str) -> str:
        name = choose.choice((".altinstructions", ".ex_table", ".bug_frames.1", ".bug_frames.3", ".modinfo"))
        return f"""
        .pushsection {name}, "{choose.choice(("a", "a", "a", "aw", "", "ax"))}", @progbits
        .byte   {", ".join(map(str, choose.randbytes(choose.choice((1, 4, 8, 13, 14, 16, 28)))))}
        .popsection
"""

    def _odd_symbol(self, choose: Choice, at: str) -> str:
        return choose.choice((
            f"        .comm   common_{at}, 8, 8\n",
            f"        .text\n        .globl  strlen\nstrlen:\n        ret\n",  # noqa: F541 - one of a kind with the others
            f"        .text\n        call    unknown_{at}\n",
            f"        .text\n        .weak   weak_{at}\n        call    weak_{at}\n",
            f"        .text\n        .globl  {'g' * 100}_{at}\n{'g' * 100}_{at}:\n        ret\n",
            f"        .set    xen_extra_version, 0x1234\n        .text\n        nop\n.L{at}:\n        ret\n",
            "        .text\n        .globl  twice\ntwice:\n        ret\n        .quad _GLOBAL_OFFSET_TABLE_\n",
        ))  # fmt: skip

    def _odd_alternative(self, choose: Choice, at: str) -> str:
        old, new = choose.choice((("nop", "call strlen@PLT"), (".zero 255, 0x90", "nop"), ("", "nop"), ("ret", "")))
        return f"""
        .text
        .xen_alternative "{old}", "{new}", {choose.choice(FEATURES)}
"""

    def _odd_hook(self, choose: Choice, at: str) -> str:
        kind = choose.choice(HOOKS)
        value = choose.choice(("0", "0", f".Lodd_{at}", "0x1234", "strlen + 1"))
        return f"""
        .text
.Lodd_{at}:
        {choose.choice(("ud2", "ret", "int3", "mov (%rax), %eax"))}
        ret
        .pushsection .livepatch.hooks.{kind}, "{choose.choice(("a", "aw", ""))}", @progbits
        .balign {choose.choice((1, 8))}
        {choose.choice((".quad", ".quad", ".long"))}   {value}
        .popsection
"""

    def _odd_identity(self, choose: Choice) -> str:
        return choose.choice((
            "        .livepatch_depends xen\n        .livepatch_depends xen", "", "        .livepatch_xen_depends b1",
            "        .livepatch_depends \"\"".replace('""', "00" * 64), f"        .build_id {'c1' * 100}",
            "        .build_id 01", f"        .livepatch_depends {'d1' * ID_SIZE}",
        ))  # fmt: skip
