"""Finders of addresses behind one protocol. Each design has a module of its own."""

from xsplice_loader.memory.vmap.bitmap import Bitmap, bitmap_pages
from xsplice_loader.memory.vmap.callback import CallbackVmap, FixedVmap, NextFitVmap
from xsplice_loader.memory.vmap.loader import LoaderVmap
from xsplice_loader.memory.vmap.protocol import Vmap, VmapCallback
from xsplice_loader.memory.vmap.slots import SlotsVmap
from xsplice_loader.memory.vmap.tree import TreeVmap
from xsplice_loader.memory.vmap.xen import XenVmap

__all__ = [
    "Bitmap",
    "CallbackVmap",
    "FixedVmap",
    "LoaderVmap",
    "NextFitVmap",
    "SlotsVmap",
    "TreeVmap",
    "Vmap",
    "VmapCallback",
    "XenVmap",
    "bitmap_pages",
]
