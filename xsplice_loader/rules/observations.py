"""What Xen accepts and a reader should know all the same: warnings, never verdicts."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_warning = partial(Rule, severity="warning")

ASSUMED_HYPERVISOR = _warning(
    "XSP200",
    "the hypervisor that the payload was made for is at hand",
    "Without it, what only that build knows is taken for granted. Give its xen-syms or boot image with -x.",
    "contract 1.1",
)
ASSUMED_SYMBOL = _warning(
    "XSP201",
    "every undefined symbol was found",
    "The symbol is taken to lie somewhere in Xen's image, which is enough to prove that nothing overflows from the "
    "payload range, but not that the symbol exists.",
    "contract 1.1",
)
ASSUMED_PROPERTY = _warning(
    "XSP202",
    "the hypervisor file says everything that a load needs",
    "A list of symbols has names and addresses only; the rest is taken from the release's defaults.",
    "contract 1.1",
)
PLACED_BY_HAND = _warning(
    "XSP203",
    "a chosen address is free and reachable",
    "An address given by hand is not tested for what else lies there.",
    "contract 1.1",
)
JUMP_WRAPS = _warning(
    "XSP204",
    "the trampoline's true displacement fits 32 bits",
    "Xen's distance test leaves out the 5 bytes of the jump and the 4 of an ENDBR64 before it. At the edge a jump "
    "passes that does not fit, and leads 4 GiB astray.",
    "spec/07 7",
)
SHORT_NOP_ON_ENDBR64 = _warning(
    "XSP205",
    "a NOP patch on an ENDBR64 function has more than 4 bytes",
    "The ENDBR64 stays, so its 4 bytes are taken off the length: of less than 4 that leaves a negative length, and "
    "applying the patch kills the machine; of exactly 4 it does nothing.",
    "spec/04 §2.1",
)
NOTHING_LOADABLE = _warning(
    "XSP206",
    "the payload has a byte to load",
    "A payload without a section to load is given a range of no pages, which is never given back.",
    "spec/07 5",
)
WILD_FUNCTION_NAME = _warning(
    "XSP207",
    "a function's name cannot be printed, or is not known",
    "Where the old address is given, loading and applying do not need the name. Debug key x and some log lines print "
    "it: a pointer to unmapped memory crashes Xen, and one to a variable of Xen's prints what the variable holds then.",
    "spec/04 §8",
)
BEYOND_ARENA = _warning(
    "XSP208",
    "a payload lies within the range for payloads",
    "The allocator's bitmap covers 128 MiB at least, and nothing stops it at the end of a smaller range.",
    "spec/02 §6.2",
)

DRAFT = Rule(
    "XSP209",
    "the allocator is the one that Xen has",
    "The designs that were discussed in 2016 behave here as they were posted, weaknesses included.",
    "spec/02 §7, spec/05",
    severity="note",
)
START_UNKNOWN = _warning(
    "XSP199",
    "the first bytes of a patched function are known",
    "A function that starts with ENDBR64 keeps it, so its jump is 4 bytes further on and needs 9 bytes in all. A "
    "symbol list does not tell how a function starts.",
    "xen/arch/x86/livepatch.c: arch_livepatch_verify_func",
    switch="built_for_ibt",
)

ALL = (
    DRAFT,
    BEYOND_ARENA,
    ASSUMED_HYPERVISOR,
    ASSUMED_SYMBOL,
    ASSUMED_PROPERTY,
    PLACED_BY_HAND,
    JUMP_WRAPS,
    SHORT_NOP_ON_ENDBR64,
    NOTHING_LOADABLE,
    WILD_FUNCTION_NAME,
    START_UNKNOWN,
)
