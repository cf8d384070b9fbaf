"""What an example is: a small payload as text, and what is done with it. It is made and run on the spot."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from xsplice_loader.forge import forge
from xsplice_loader.host import Host
from xsplice_loader.hypervisor import Hypervisor

if TYPE_CHECKING:
    from xsplice_loader.host.hooks import HookRunner
    from xsplice_loader.results import ActionResult, Finding, LoadResult

REPLACEMENT = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement
        .livepatch_func "xen_minor_version", replacement, 6
"""
"""The model's xen_minor_version returns 17; this one returns 18."""
OLD_REPLACEMENT = REPLACEMENT.replace("replacement, 6\n", "replacement, 6, 0, 6, 1\n")
"""The same with the function table of 4.7 to 4.13."""
DEPENDS, XEN_DEPENDS = "        .livepatch_depends xen\n", "        .livepatch_xen_depends xen\n"
IDENTITY = DEPENDS + XEN_DEPENDS + "        .build_id a1\n"
CALL = """
        .text
helper:
        call    strlen
        ret
"""
"""Code with a relocation, `.rela.text` entry 0."""

Kind = Literal["model", "no build-id", "symbol list", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An example that breaks one rule."""

    shows: str
    """What is wrong with it, in a sentence."""
    source: str
    """The payload, for the forge."""
    release: str = "4.17.7"
    name: str = "example"
    below: tuple[tuple[str, str], ...] = ()
    """Names and sources of payloads that are uploaded before it."""
    actions: tuple[str, ...] = ()
    """What is done afterwards: `apply example`, one verb and one name each."""
    runs_hooks: bool = False
    """Whether the payload's code is run; without it hooks count as returning 0."""
    vmap: str = "xen"
    place: int | None = None
    arena: tuple[int, int] | None = None
    cpu_features: tuple[int, ...] = ()
    hypervisor: Kind = "model"
    policy: str = "xen"
    any_placement: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of an example."""

    upload: LoadResult
    actions: tuple[tuple[str, ActionResult], ...]
    checked: tuple[Finding, ...]
    """What the checker added to what the upload found."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that was found on the way."""
        return (*self.upload.findings, *self.checked, *(f for _, action in self.actions for f in action.findings))


class EmulatorNeededError(Exception):
    """An example runs code, and there is no emulator to run it."""


def payload(body: str = "", *damages: str, replacement: str = REPLACEMENT, identity: str = IDENTITY) -> str:
    """Return the source of a payload: a replacement, what else there is, ids, and how it is spoilt."""
    spoilt = "".join(f"#! damage: {damage}\n" for damage in damages)
    return f"{replacement.strip(chr(10))}\n{body.strip(chr(10))}\n{identity}{spoilt}".replace("\n\n", "\n")


def hook(kind: str, *code: str) -> str:
    """Return a hook of a kind, that consists of some instructions."""
    lines = "".join(f"        {line}\n" for line in code)
    return f"        .text\nhook_{kind}:\n{lines}        .livepatch_hook {kind}, hook_{kind}\n"


def try_out(recipe: Recipe) -> Trial:
    """Make an example and run it on a host of its own.

    Raises:
        EmulatorNeededError: it runs code, and unicorn is not installed.
    """
    host = Host(
        _hypervisor(recipe),
        vmap=recipe.vmap,
        place=recipe.place,
        arena=recipe.arena,
        release=recipe.release,
        cpu_features=recipe.cpu_features,
        hook_runner=_runner() if recipe.runs_hooks else None,
    )
    for name, source in recipe.below:
        host.upload(name, forge(source)).raise_for_verdict()
    result = host.upload(recipe.name, forge(recipe.source))
    actions = []
    for line in recipe.actions:
        verb, name = line.split()
        actions.append((line, getattr(host, verb)(name)))
        if actions[-1][1].rc is None:
            break
    return Trial(result, tuple(actions), _checked(recipe, host))


def _checked(recipe: Recipe, host: Host) -> tuple[Finding, ...]:
    """Return what the checker finds beyond an upload, where the example is about that."""
    if recipe.policy == "xen" and not recipe.any_placement:
        return ()
    from xsplice_loader.checking.cell import check, host_for  # noqa: PLC0415 - for few examples
    from xsplice_loader.checking.question import Question  # noqa: PLC0415
    from xsplice_loader.payload import PayloadFile  # noqa: PLC0415

    question = Question(
        release=recipe.release, arena=recipe.arena, policy=recipe.policy, any_placement=recipe.any_placement
    )
    fresh = host_for(host.hypervisor, question)
    cell, _ = check(fresh, recipe.name, PayloadFile(forge(recipe.source)), question)
    return tuple(finding for finding in cell.findings if finding.rule.startswith("XSP3"))


def _runner() -> HookRunner:
    from xsplice_loader.emulation import run_hook  # noqa: PLC0415 - seldom asked for

    if importlib.util.find_spec("unicorn") is None:
        raise EmulatorNeededError("this example runs code; for that there has to be unicorn: pip install unicorn")
    return run_hook


def _hypervisor(recipe: Recipe) -> Hypervisor:
    model = Hypervisor.model(recipe.release)
    if recipe.hypervisor == "no build-id":
        return replace(model, build_id=None)
    if recipe.hypervisor == "unknown":
        return model.assume()
    return _symbol_list(model, recipe.release) if recipe.hypervisor == "symbol list" else model


def _symbol_list(model: Hypervisor, release: str) -> Hypervisor:
    """Return what is known of the model by the names and addresses of its symbols alone."""
    lines = "".join(f"{address:016x} {kind} {name.decode()}\n" for name, address, kind in model.symbols)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "xen-syms.map")
        with open(path, "w", encoding="utf-8") as file:
            file.write(lines)
        return replace(Hypervisor.open(path, release), file="xen-syms.map")
