"""The payloads that lessons load, and how they are loaded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xsplice_loader.forge import forge
from xsplice_loader.host import Host
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.teaching.walk import scene_of

if TYPE_CHECKING:
    from xsplice_loader.results import LoadResult
    from xsplice_loader.teaching.scene import Scene

SMALL = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        lea     message(%rip), %rdi
        call    strlen
        mov     message_length(%rip), %eax
        ret
        .size replacement, . - replacement
        .data
message_length:
        .long   0
        .section .rodata, "a", @progbits
message:
        .asciz  "-patched"
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
"""
"""Code that needs a text of its own, a function of Xen's and a variable of its own."""
CALL = 1
"""The relocation of its call, in `.text`."""


@lru_cache
def made(source: str) -> bytes:
    """Return the payload of a source."""
    return forge(source)


def load(source: str, name: str = "payload", *, host: Host | None = None, **options: Any) -> Scene:
    """Upload a payload to a host, by default a fresh one with the options of `Host`, and return what is to be seen."""
    target = Host(Hypervisor.model(options.get("release")), **options) if host is None else host
    below = target.payloads
    return scene_of(target, target.upload(name, made(source)), made(source), below)


def result_of(source: str, **options: Any) -> LoadResult:
    """Return what comes of an upload."""
    return load(source, **options).result


def source_lines(source: str) -> tuple[str, ...]:
    """Return a source as it is shown."""
    return tuple(source.strip("\n").splitlines())
