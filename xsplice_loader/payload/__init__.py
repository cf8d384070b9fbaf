"""An ET_REL file, read and tested as Xen tests it."""

from xsplice_loader.payload.object_file import ObjectFile, Section, SymbolEntries, text_of
from xsplice_loader.payload.reading import read

__all__ = ["ObjectFile", "Section", "SymbolEntries", "read", "text_of"]
