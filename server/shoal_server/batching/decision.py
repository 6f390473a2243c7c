"""What there is to decide about those who wait for a batch, and what may be decided."""

from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar


class Entry(Protocol):
    """What the policy needs to know of a request; times are monotonic seconds.

    It leaves the line at ``deadline_s``.
    """

    rows: int
    size_bytes: int
    key: tuple[object, ...] | None
    arrived_s: float
    deadline_s: float

    @property
    def answer_by_s(self) -> float:
        """When the answer becomes useless."""
        ...

    @property
    def priority(self) -> int:
        """From 1, the first, to the number of levels; of no account where there is one."""
        ...

    @property
    def caller(self) -> str:
        """Who asks; of no account without fairness."""
        ...

    @property
    def bucket(self) -> int:
        """The length that it is at least padded to, >= 1; of no account where lengths do not vary."""
        ...


E = TypeVar("E", bound=Entry)


class CloseReason(Enum):
    """Why a batch took no more."""

    FULL = "full"
    DELAY_OVER = "delay_over"
    SLOT_FREE = "slot_free"
    DEADLINE = "deadline"  # one row more would have made a member late
    LENGTHS = "lengths"  # one more would have cost more padding than a batch of its own costs
    ALONE = "alone"

    __hash__ = object.__hash__  # members are themselves alone; Enum's own takes a call of Python for each batch


class Dispatch(NamedTuple, Generic[E]):
    """Run these now, as one batch of ``rows`` rows, and where lengths vary, of ``cells`` padded cells."""

    entries: tuple[E, ...]
    rows: int
    reason: CloseReason
    cells: int = 0

    @property
    def cost(self) -> int:
        """What it is in the measure of the forecast."""
        return self.cells or self.rows


class TooLate(NamedTuple, Generic[E]):
    """These were taken out: their turn has come, and they could not be answered in time any more. Then ask again."""

    entries: tuple[E, ...]


class WakeAt(NamedTuple):
    """Nothing to do before that time, unless something changes."""

    at_s: float


class Idle(NamedTuple):
    """Nothing waits."""
