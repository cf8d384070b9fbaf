"""Payloads and scripts as lists of parts, so that they shrink well: without any one part the rest still makes sense."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from real_xen.case import Case, payload_case, script_case
from xsplice_loader.forge import ForgeError, forge

if TYPE_CHECKING:
    from collections.abc import Iterator


_Part = TypeVar("_Part")


class Recipe(NamedTuple):
    """A payload: assembly text in blocks that do not need each other, and damages to the finished file."""

    name: str
    """What it is uploaded as."""
    blocks: tuple[str, ...]
    damages: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The text that the forge makes the payload of."""
        return "\n".join([*(f"#! damage: {damage}" for damage in self.damages), *self.blocks]) + "\n"

    def made(self, xen_build_id: bytes) -> bytes:
        """Return the payload.

        Raises:
            ForgeError: it cannot be made; what is left of a recipe may damage what is no longer there.
        """
        try:
            return forge(self.source, xen_build_id=xen_build_id)
        except OverflowError as error:
            # A damaged place of the section headers can be beyond what a file's position may be.
            raise ForgeError(str(error)) from error

    def smaller(self) -> Iterator[Recipe]:
        """Yield recipes with one part less."""
        for index in range(len(self.damages)):
            yield self._replace(damages=_without(self.damages, index))
        for index in range(len(self.blocks)):
            yield self._replace(blocks=_without(self.blocks, index))


class Plot(NamedTuple):
    """What is to be tried: the life of one payload, or commands with several."""

    name: str
    recipes: tuple[Recipe, ...]
    commands: tuple[tuple[str, ...], ...] = ()
    """Nothing: the life of the only payload."""

    def case(self, xen_build_id: bytes) -> Case:
        """Return the case.

        Raises:
            ForgeError: a payload cannot be made.
        """
        if not self.commands:
            (recipe,) = self.recipes
            data = recipe.made(xen_build_id)
            return payload_case(self.name, data, file=f"{self.name}.livepatch", uploaded_as=recipe.name)
        files = {f"{recipe.name}.livepatch": recipe.made(xen_build_id) for recipe in self.recipes}
        return script_case(self.name, self.script, files)

    @property
    def script(self) -> str:
        """The commands, one to a line."""
        return "".join(f"{shlex.join(words)}\n" for words in self.commands)

    def smaller(self) -> Iterator[Plot]:
        """Yield plots with one part less: a command, a payload, a block or a damage."""
        for index in range(len(self.commands) if len(self.commands) > 1 else 0):
            yield self._replace(commands=_without(self.commands, index))
        for index, recipe in enumerate(self.recipes):
            if self.commands and len(self.recipes) > 1:
                yield self._replace(recipes=_without(self.recipes, index))
            for less in recipe.smaller():
                yield self._replace(recipes=(*self.recipes[:index], less, *self.recipes[index + 1 :]))


def can_be_made(plot: Plot, xen_build_id: bytes) -> bool:
    """Tell whether the forge can make what a plot needs."""
    try:
        plot.case(xen_build_id)
    except ForgeError:
        return False
    return True


def _without(parts: tuple[_Part, ...], index: int) -> tuple[_Part, ...]:
    return parts[:index] + parts[index + 1 :]
