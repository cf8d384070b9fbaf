"""For every rule that a file or an action can break: an example that does; for the others the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.teaching.examples import actions, content, form, observations, placing, tables
from xsplice_loader.teaching.examples.recipe import EmulatorNeededError, Recipe, Trial, try_out

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule

_PARTS = (form, placing, content, tables, actions, observations)
EXAMPLES: dict[Rule, Recipe] = {rule: recipe for part in _PARTS for rule, recipe in part.EXAMPLES.items()}
WITHOUT: dict[Rule, str] = {rule: reason for part in _PARTS for rule, reason in part.WITHOUT.items()}
"""Rules that nothing in a payload can break, each with the reason."""

__all__ = ["EXAMPLES", "WITHOUT", "EmulatorNeededError", "Recipe", "Trial", "try_out"]
