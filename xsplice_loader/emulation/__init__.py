"""Running code in the memory of a simulated host, on an emulated processor (unicorn).

`run` executes one function and tells what it returned, which functions it went through, and what it wrote; the
host's memory stays as it was. `run_hook` executes a payload's hook, whose writes stay. What can be followed is code
that computes, reads and writes the hypervisor's image and the payloads, and prints. The model has no devices, no
domains, no interrupts and no processor of its own; code that needs them is stopped, and the reason says what it
asked for. The image's data are those of the file, which a running Xen has long written to.
"""

from __future__ import annotations

from xsplice_loader.emulation.hook_runner import run_hook
from xsplice_loader.emulation.machine import EmulatorMissingError
from xsplice_loader.emulation.outcomes import Limits, Outcome, PathStep, Run, Via, Write
from xsplice_loader.emulation.running import UnknownFunctionError, run

__all__ = [
    "EmulatorMissingError",
    "Limits",
    "Outcome",
    "PathStep",
    "Run",
    "UnknownFunctionError",
    "Via",
    "Write",
    "run",
    "run_hook",
]
