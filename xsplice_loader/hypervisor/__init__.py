"""What a payload is loaded against: image bytes, symbols, build-id, release and address map of one Xen."""

from xsplice_loader.hypervisor.contents import HypervisorFileError
from xsplice_loader.hypervisor.image import Hypervisor
from xsplice_loader.hypervisor.symbols import SymbolTable

__all__ = ["Hypervisor", "HypervisorFileError", "SymbolTable"]
