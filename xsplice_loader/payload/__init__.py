"""An ET_REL file, read and tested as Xen tests it."""

from xsplice_loader.payload.file import PayloadFile
from xsplice_loader.payload.object_file import ObjectFile, Section, SymbolEntries, text_of
from xsplice_loader.payload.reading import read

__all__ = ["ObjectFile", "PayloadFile", "Section", "SymbolEntries", "read", "text_of"]
