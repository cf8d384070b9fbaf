"""Designs of address allocation behind one protocol, one module each. Xen's own are at hand here."""

from xsplice_loader.memory.vmap.bitmap import Bitmap, bitmap_pages, furthest
from xsplice_loader.memory.vmap.protocol import Vmap, VmapCallback
from xsplice_loader.memory.vmap.xen import XenVmap

__all__ = ["Bitmap", "Vmap", "VmapCallback", "XenVmap", "bitmap_pages", "furthest"]
