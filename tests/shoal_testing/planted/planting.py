"""How a bug is planted, and all that there are."""

from collections.abc import Callable
from typing import Final

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: Final[dict[str, Plant]] = {}


def planted(plant: Plant) -> Plant:
    """Add a bug to those that the simulation has to find."""
    PLANTS[plant.__name__] = plant
    return plant


def nothing(*_: object) -> None:
    """In place of a method that does something."""
