"""Examples for the rules on what is done with loaded payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import actions
from xsplice_loader.teaching.examples.recipe import IDENTITY, OLD_REPLACEMENT, REPLACEMENT, Recipe, hook, payload

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

_ON_FIRST = IDENTITY.replace("depends xen\n        .livepatch_xen", "depends a1\n        .livepatch_xen").replace(
    "id a1", "id b2"
)
_OTHER_ID = IDENTITY.replace("id a1", "id b2")
_FIRST = payload()
_HELPER = "        .text\n        .globl helped\nhelped:\n        ret\n"
_SECOND_NAME = REPLACEMENT.replace("replacement", "second")
_ON_NMI = '        .livepatch_func "do_nmi_op", 0, 41, 0, 3\n'


def _expecting(expected: str, *damages: str) -> str:
    return payload(f"        .livepatch_expect {expected}\n", *damages)


def _returning(kind: str, value: int) -> str:
    return payload(hook(kind, f"mov ${value}, %eax", "ret"))


EXAMPLES: dict[Rule, Recipe] = {
    actions.UNKNOWN_PAYLOAD: Recipe(shows="Nobody goes by that name.", source=_FIRST, actions=("apply somebody",)),
    actions.UNLOAD_APPLIED: Recipe(
        shows="It is to be removed while jumps lead into it.",
        source=_FIRST,
        actions=("apply example", "unload example"),
    ),
    actions.NOT_ON_TOP: Recipe(
        shows="The lower of two applied payloads is to be reverted first.",
        source=payload(identity=_ON_FIRST, replacement=_SECOND_NAME),
        below=(("first", _FIRST),),
        actions=("apply first", "apply example", "revert first"),
    ),
    actions.USED_DATA: Recipe(
        shows="It has a variable, and is to be applied a second time.",
        source=payload("        .data\ncounter:\n        .quad 0\n"),
        actions=("apply example", "revert example", "apply example"),
    ),
    actions.STANDS_ON_OTHER: Recipe(
        shows="It stands on a payload that is not there.",
        source=payload(identity=_ON_FIRST),
        actions=("apply example",),
    ),
    actions.XEN_WITHOUT_ID: Recipe(
        shows="It is to stand on a hypervisor that was linked without a build-id.",
        source=payload(replacement=OLD_REPLACEMENT),
        release="4.13.0",
        hypervisor="no build-id",
        actions=("apply example",),
    ),
    actions.UNEXPECTED_BYTES: Recipe(
        shows="It expects the old function to begin with a return.", source=_expecting("c3"), actions=("apply example",)
    ),
    actions.EXPECTATION_RESERVED: Recipe(
        shows="The reserved bits of what it expects are set.",
        source=_expecting("b8", "bytes .livepatch.funcs 72 c3"),
        actions=("apply example",),
    ),
    actions.EXPECTATION_TOO_LONG: Recipe(
        shows="It expects 7 bytes of a function of 6.",
        source=_expecting("b811000000c300"),
        actions=("apply example",),
    ),
    actions.HOOK_VETO: Recipe(
        shows="Its pre-apply hook returns -16, EBUSY.",
        source=_returning("preapply", -16),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.REPLACE_WITH_HOOKS: Recipe(
        shows="It has a hook before it is applied, and is to take the place of all others.",
        source=payload(hook("preapply", "xor %eax, %eax", "ret")),
        actions=("replace example",),
    ),
    actions.HOOK_FAILED: Recipe(
        shows="A hook stands in the place of applying, and returns -22, EINVAL.",
        source=_returning("apply", -22),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.REPLACEMENT_INCOMPLETE: Recipe(
        shows="It expects other bytes than there are, which shows when the other payload is reverted already.",
        source=payload("        .livepatch_expect c3\n", identity=_OTHER_ID, replacement=_SECOND_NAME),
        below=(("first", _FIRST),),
        actions=("apply first", "replace example"),
    ),
    actions.STUCK: Recipe(
        shows="A hook returns -11, EAGAIN, which stands for an action under way.",
        source=_returning("preapply", -11),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.ODD_RETURN: Recipe(
        shows="A hook returns 7.", source=_returning("preapply", 7), actions=("apply example",), runs_hooks=True
    ),
    actions.SHORT_NOPS: Recipe(
        shows="It puts 3 bytes of NOPs on a function that begins with the 4 of an ENDBR64.",
        source=payload(replacement=_ON_NMI),
        actions=("apply example",),
    ),
    actions.NOT_WRITABLE: Recipe(
        shows="The old function is said to stand where nothing is mapped, under the rules of a release that does not "
        "look before.",
        source=payload(replacement=REPLACEMENT.replace("replacement, 6\n", "replacement, 6, 0xffff82d07ff00000\n")),
        release="4.14.0",
        actions=("apply example",),
    ),
    actions.INCONSISTENT: Recipe(
        shows="A hook in the place of applying says that it is done, and did nothing.",
        source=payload(hook("apply", "xor %eax, %eax", "ret")),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.HOOK_NOT_CODE: Recipe(
        shows="A hook is a NULL pointer.",
        source=payload('        .section .livepatch.hooks.load, "a", @progbits\n        .quad 0\n'),
        actions=("apply example",),
    ),
    actions.HOOK_DIED: Recipe(
        shows="A hook runs into an instruction that is none.",
        source=payload(hook("preapply", "ud2")),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.WILD_TABLE: Recipe(
        shows="The table of its load hooks is not loaded, and followed all the same.",
        source=payload('        .section .livepatch.hooks.load, "", @progbits\n        .quad 0\n'),
        actions=("apply example",),
    ),
    actions.HOOK_NOT_RUN: Recipe(
        shows="It has a hook, and nobody runs it here.",
        source=payload(hook("load", "ret")),
        actions=("apply example",),
    ),
    actions.HOOK_NOT_FOLLOWED: Recipe(
        shows="A hook reads the processor's clock, which is not simulated.",
        source=payload(hook("preapply", "rdtsc", "xor %eax, %eax", "ret")),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.HOOK_EFFECT_UNKNOWN: Recipe(
        shows="A hook stands in the place of applying, and nobody runs it here; what would revert restore?",
        source=payload(hook("apply", "xor %eax, %eax", "ret")),
        actions=("apply example", "revert example"),
    ),
    actions.HEAP_ADDRESS: Recipe(
        shows="A hook keeps the address of struct payload in a variable.",
        source=payload(
            "        .data\n        .balign 8\nkept:   .quad 0\n"
            + hook("preapply", "mov %rdi, kept(%rip)", "xor %eax, %eax", "ret"),
        ),
        actions=("apply example",),
        runs_hooks=True,
    ),
    actions.NOT_RESTORED: Recipe(
        shows="It patches the same function twice.",
        source=payload('        .livepatch_func "xen_minor_version", replacement, 6\n'),
        actions=("apply example", "revert example"),
    ),
    actions.LEFT_LINKED: Recipe(
        shows="A payload is removed whose helper it calls.",
        source=payload(
            "        .text\ncaller:\n        call helped\n        ret\n", identity=_OTHER_ID, replacement=_SECOND_NAME
        ),
        below=(("first", payload(_HELPER)),),
        actions=("unload first",),
    ),
    actions.LEFT_PATCHED: Recipe(
        shows="It patches the same function twice, is reverted, which leaves a jump behind, and removed.",
        source=payload('        .livepatch_func "xen_minor_version", replacement, 6\n'),
        actions=("apply example", "revert example", "unload example"),
    ),
    actions.ALREADY_MARKED: Recipe(
        shows="The file brings along the mark of a function that is patched, where the mark is kept in the payload.",
        source=payload("", "bytes .livepatch.funcs 64 01"),
        release="4.14.6",
        actions=("apply example",),
    ),
    actions.NOT_COMPARED: Recipe(
        shows="It expects bytes that a list of symbols does not have.",
        source=_expecting("b811000000c3"),
        hypervisor="symbol list",
        actions=("apply example",),
    ),
}
WITHOUT: dict[Rule, str] = {
    actions.LOCK_KEPT: "Debug key x has to be pressed, which is not an action on a payload.",
}
