"""Small payloads for the model hypervisor, put together from a few lines of assembly."""

from __future__ import annotations

from functools import lru_cache

from xsplice_loader.forge import forge

REPLACEMENT = """
        .text
        .balign 16
        .type {label}, @function
{label}:
        xor     %eax, %eax
        ret
        .size {label}, . - {label}
        .livepatch_func "{function}", {label}, 16, 0, sizeof({label}), {version}
"""
IDS = """
        .livepatch_depends {depends}
        .livepatch_xen_depends xen
        .build_id {build_id}
"""


@lru_cache(maxsize=128)
def payload(
    body: str = "",
    *,
    function: str = "xen_extra_version",
    label: str = ".Lnew",
    depends: str = "xen",
    build_id: str = "a1",
    version: int = 2,
) -> bytes:
    """Return a payload that replaces a function of the model, with `body` as further assembly.

    `depends` and `build_id` are hexadecimal; `xen` stands for the model's own. `version` is the function
    table's: 1 up to 4.13.
    """
    replacement = REPLACEMENT.format(label=label, function=function, version=version) if function else ""
    return forge(replacement + body + IDS.format(depends=depends, build_id=build_id))


def hook(kind: str, code: str = "ret") -> str:
    """Return a hook of a kind, that does nothing unless `code` says otherwise."""
    return f"""
        .text
.Lhook_{kind}:
        {code}
        .pushsection .livepatch.hooks.{kind}, "aw", @progbits
        .quad   .Lhook_{kind}
        .popsection
"""
