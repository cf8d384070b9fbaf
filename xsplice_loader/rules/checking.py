"""Rules of the checker: what is asked beyond one upload at one address, and what keeps a cell from its answer."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_rule = partial(Rule, source="contract 5")

NOT_EVERYWHERE = _rule(
    "XSP300",
    "a payload fits at every address that its range can give",
    "Which address a payload gets depends on what was loaded before it. Asked with --any-placement, a payload is "
    "accepted only if nothing in it overflows from the first page of the range to the last.",
    errno="EOVERFLOW",
)
POLICY_TYPE = _rule(
    "XSP301",
    "the chosen policy applies a relocation's type",
    "Loaders know a few of the psABI's types and refuse the rest; linkers know nearly all. Asked with --policy, "
    "relocations are judged by what another loader or linker does with them, and not by what Xen does.",
)
POLICY_RANGE = _rule(
    "XSP302",
    "a relocation's value fits by the chosen policy",
    "Loaders and linkers agree on 32-bit fields and not on smaller ones, and some do not look at all.",
)
UNREADABLE_HYPERVISOR = _rule(
    "XSP303",
    "a hypervisor file can be read",
    "Nothing can be said about a payload on a hypervisor that cannot be read.",
)
CELL_DIED = _rule(
    "XSP304",
    "a cell comes to an end",
    "A process that dies takes its cell with it, and only that one: the rest is checked all the same.",
)
NO_HYPERVISOR = _rule(
    "XSP305",
    "the build that a payload names is among the hypervisors",
    "With --match-build-id every payload is checked against the build it was made for, and that has to be there.",
)

ALL = (NOT_EVERYWHERE, POLICY_TYPE, POLICY_RANGE, UNREADABLE_HYPERVISOR, CELL_DIED, NO_HYPERVISOR)
