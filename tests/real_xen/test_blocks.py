"""Blocks that depend on the running hypervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from records import recorded_hypervisor

from real_xen.blocks import boot_call, boot_variables, bug_frame, reads_structure
from real_xen.choice import Choice
from real_xen.generator import Generator
from real_xen.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

HYPERVISOR = recorded_hypervisor("4.17.7")
BUILD_ID = HYPERVISOR.build_id or b""
VARIABLES = boot_variables(HYPERVISOR)
IDENTITY = ("        .livepatch_depends xen", "        .livepatch_xen_depends xen", "        .build_id sha1")


def test_variables_are_where_nm_lists_them() -> None:
    found = {variable.name: variable for variable in VARIABLES}
    # nm -S of Debian's xen-syms 4.17.7+13; what aligns the next symbol counts as the variable's.
    assert found["genapic"][1:] == (0xFFFF_82D0_4036_1220, 0x40)
    assert found["hvm_funcs"].address == 0xFFFF_82D0_4036_1280
    assert 0x258 <= found["hvm_funcs"].size < 0x258 + 32
    assert found["arch/x86/time.c#plt_src"].address == 0xFFFF_82D0_4046_3D20
    assert "xsm_ops" not in found


def old_call(choose: Choice, at: str) -> str:
    return boot_call(choose, at, VARIABLES, has_call_sites=False)


def new_call(choose: Choice, at: str) -> str:
    return boot_call(choose, at, VARIABLES, has_call_sites=True)


@pytest.mark.parametrize("block", [old_call, new_call, reads_structure, bug_frame])
def test_each_block_makes_a_payload(block: Callable[[Choice, str], str]) -> None:
    for number in range(40):
        assert Recipe("p", (block(Choice(number), "at"), *IDENTITY)).made(BUILD_ID)[:4] == b"\x7fELF"


def test_calls_are_named_as_the_release_wants_it() -> None:
    sources = [[call(Choice(number), "at") for number in range(50)] for call in (old_call, new_call)]
    old, new = ([".alt_call_sites" in source for source in of_release] for of_release in sources)
    assert sum(old) < 15
    assert sum(new) > 35


def test_the_generator_draws_all_of_them_and_stacks_of_one_function() -> None:
    generator = Generator(HYPERVISOR, 1)
    plots = [generator.plot(number) for number in range(120)]
    text = "\n".join(block for plot in plots for recipe in plot.recipes for block in recipe.blocks)
    assert all(label in text for label in (".Lself_", ".Lseen_", ".Ltrap_"))
    assert any(len(plot.recipes) > 1 and all("_same" in recipe.source for recipe in plot.recipes) for plot in plots)
