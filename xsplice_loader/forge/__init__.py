"""Making payloads: assembly text in, ET_REL out, without a toolchain."""

from __future__ import annotations

from xsplice_loader.forge.errors import ForgeError

__all__ = ["ForgeError", "forge"]


def forge(source: str, *, xen_build_id: bytes | None = None) -> bytes:
    """Return the relocatable object file that `source` describes, spoilt as its `#! damage:` lines say.

    The language is that of GNU as for x86-64 (AT&T syntax), as far as live patches need it, and a few
    directives for what each of them contains (`payload_directives.py`). The same text gives the same bytes.

    Args:
        source: the text.
        xen_build_id: what `xen` stands for in `.livepatch_depends` and `.livepatch_xen_depends`; default: the
            build-id of the model hypervisor.

    Raises:
        ForgeError: the text is not understood; the error names the line.

    """
    from xsplice_loader.forge.building import build  # noqa: PLC0415

    return build(source, xen_build_id)
