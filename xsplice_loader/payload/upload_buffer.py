"""The upload buffer: Xen's own copy of a payload file, whole pages of memory that change while it loads.

Xen allocates whole pages for the file (xen/common/livepatch.c: livepatch_upload), so that bytes after the file's end
can be read up to the end of its last page; the page after that is not mapped. It keeps pointers into this copy
instead of copies of what it read, and stores the symbols' values in it (xen/common/livepatch_elf.c:
livepatch_elf_resolve_symbols): whatever else of the file has the same bytes is read as changed by then.
"""

from __future__ import annotations

from xsplice_loader.releases import PAGE_SIZE

UPLOAD_ADDRESS = 0xFFFF82C000201000
"""Where the buffer is taken to be: the first pages of Xen's ordinary vmap area. Only distances from it matter."""


def in_pages(data: bytes) -> bytes:
    """Return a file as it is in memory: filled up with zeros to whole pages."""
    return data + bytes(-len(data) % PAGE_SIZE)
