"""How a bug is planted, and all that there are."""

from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A bug, and the first seed by which the simulation was seen to find it: the one to try first, and no more."""

    plant: Plant
    seen_by: int


BUGS: Final[dict[str, Bug]] = {}


def planted(*, seen_by: int) -> Callable[[Plant], Plant]:
    """Add a bug to those that the simulation has to find."""

    def add(plant: Plant) -> Plant:
        BUGS[plant.__name__] = Bug(plant, seen_by)
        return plant

    return add


def nothing(*_: object) -> None:
    """In place of a method that does something."""
