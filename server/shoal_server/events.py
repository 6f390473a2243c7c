"""What the core tells whoever listens: facts, after they happened."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VersionChanged:
    """A version went from one state to another; ``reason`` says why where there is something to say."""

    model: str
    version: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelRemarked:
    """A model's description holds something that its owner should know and that keeps nothing from being served."""

    model: str
    warning: str


@dataclass(frozen=True, slots=True)
class ExecutionBroken:
    """A batch met a bug of ours or of a library: ``problem`` is for the log only."""

    model: str
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class BatchingStopped:
    """A model that looked batchable gave outputs that cannot be split; its requests run one by one from now on."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class ExecutionAbandoned:
    """A batch of ``members`` requests ran past the execution limit; its thread was given up and replaced."""

    model: str
    version: int
    members: int
    limit_s: float


Event = VersionChanged | ModelRemarked | ExecutionBroken | BatchingStopped | ExecutionAbandoned


class Observer(Protocol):
    """Hears of events. Called on the loop; must not block and must not raise."""

    def observe(self, event: Event) -> None:
        """Take note."""
        ...
