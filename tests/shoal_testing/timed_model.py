"""The model of tests about batches: each of its runs takes ``RUN_S``; and what an answer of it tells."""

from collections.abc import Callable
from typing import Final

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_testing.core import Core, Sent
from shoal_testing.fake_model import SERIALS, FakeModel, Kind, Poison, Speed
from shoal_testing.virtual_time import START_S

RUN_S: Final = 0.010

Make = Callable[[Core, ModelDefinition, int], FakeModel]


def making(
    kind: Kind = Kind.ROWS, poisons: dict[int, Poison] | None = None, *, obeys: bool = True, instances: int = 100
) -> Make:
    """Return what makes such a model, for ``run_core``."""
    return lambda core, _definition, _version: FakeModel(
        kind, threads=core.threads, speed=Speed(RUN_S), poisons=poisons, obeys=obeys, instances=instances
    )


def numbers(sent: Sent) -> list[int]:
    """Return the rows that an answer was made from."""
    return [int(cell) // SERIALS for cell in sent.answer.array()[:, 0]]


def after_s(sent: Sent) -> float:
    """Return when the answer came, since the start."""
    return sent.answer.at_s - START_S
