"""Finders of addresses behind one protocol. Each design has a module of its own."""

from xsplice_loader.memory.vmap.bitmap import Bitmap
from xsplice_loader.memory.vmap.chosen import CallbackVmap, FixedVmap
from xsplice_loader.memory.vmap.protocol import Vmap, VmapCallback
from xsplice_loader.memory.vmap.xen import XenVmap

__all__ = ["Bitmap", "CallbackVmap", "FixedVmap", "Vmap", "VmapCallback", "XenVmap"]
