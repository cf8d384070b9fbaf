"""The model hypervisor: what stands in for Xen where no real one is at hand.

Its source is `model.s` beside this file, its result `xsplice_loader/hypervisor/model.elf`, which is part
of the package, so that nobody needs keystone to load a payload against it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

XEN_VIRT_START: Final = 0xFFFF82D040000000
IMAGE_OFFSET: Final = 0x200000
"""Where Xen 4.17 has its text (`spec/02 §8.2`)."""

MODEL_BUILD_ID: Final = b"xsplice model 4.17.7"
"""Twenty bytes, as long as a SHA-1, that a reader of a hex dump recognises."""


def build_model() -> bytes:
    """Return the ELF file of the model hypervisor; the same bytes every time.

    Raises:
        ForgeError: the source is not understood.

    """
    from xsplice_loader.forge.assembler import Assembler  # noqa: PLC0415
    from xsplice_loader.forge.executable import link  # noqa: PLC0415

    assembler = Assembler(MODEL_BUILD_ID)
    assembler.run(files(__package__).joinpath("model.s").read_text(encoding="utf-8"))
    assembler.run(f".build_id {MODEL_BUILD_ID.hex()}", line=0)
    return link(assembler.finish(), XEN_VIRT_START + IMAGE_OFFSET, "start")
