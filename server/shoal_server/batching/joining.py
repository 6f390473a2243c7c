"""Which requests of different lengths share a batch, and what that costs in padding. Pure.

Whoever goes first is joined by those of his own length, then by those of the next lengths, the nearest first, as long
as all the padding in the batch costs no more than what it saves: the base cost of one batch more. Among many who wait,
that is where batches are the cheapest (with lengths that lie evenly apart, widening a batch saves ``base / n`` for each
of its n rows and pads each by half its width, and both together are least where all the padding costs one base); of two
who wait it is exactly the cheaper way. Nobody waits for company, and nobody is passed over for ever, since the first of
the line is in the next batch, whatever his length. No batch is padding for more than its half, so that memory stays in
proportion to what was sent where padding costs no time at all.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from shoal_server.batching.decision import CloseReason
from shoal_server.batching.forecast import Forecast


class Lengthy(Protocol):
    """A request as joining sees it: its rows, when its answer is due, and the length that it is at least padded to."""

    rows: int

    @property
    def answer_by_s(self) -> float:
        """Monotonic seconds."""
        ...

    @property
    def bucket(self) -> int:
        """At least 1."""
        ...


E = TypeVar("E", bound=Lengthy)


class Limits(NamedTuple):
    """What a batch holds: rows, padded cells (rows times its length), and how many of these may be padding.

    ``padded`` says at how many rows the model runs.
    """

    rows: int
    cells: float
    padding: float
    padded: Callable[[int], int] = int

    @classmethod
    def of(cls, forecast: Forecast, rows: int, padded: Callable[[int], int]) -> "Limits":
        """Return what pays by what is known of the model's batches."""
        return cls(rows, forecast.full_cost, forecast.spare_cost, padded)


class Joint(Generic[E]):
    """A batch in the making; the first to come is always in it.

    ``crowded`` says that there was no room for one more.
    """

    __slots__ = ("_limits", "_own_cells", "_padded_out", "crowded", "entries", "length", "rows")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._own_cells = 0
        self.entries: list[E] = []
        self.rows = 0
        self.length = 0
        self.crowded = False
        self._padded_out = False

    @property
    def cells(self) -> int:
        """What is computed: rows at which the model runs, times the length of the longest."""
        return self._limits.padded(self.rows) * self.length

    def cells_alone(self, entry: E) -> int:
        """Return what would be computed for him alone."""
        return self._limits.padded(entry.rows) * entry.bucket

    @property
    def reason(self) -> CloseReason | None:
        """Why it takes no more, None where nothing speaks against it."""
        if self.crowded or self.rows >= self._limits.rows or self.cells >= self._limits.cells:
            return CloseReason.FULL
        return CloseReason.LENGTHS if self._padded_out else None

    def padding_with(self, rows: int, bucket: int) -> int:
        """Return how many cells would be padding with so many rows of another length."""
        return (self.rows + rows) * max(self.length, bucket) - self._own_cells - rows * bucket

    def take(self, entry: E) -> bool:
        """Let a request join, and return True; or return False where he does not fit or does not pay."""
        rows, length = self.rows + entry.rows, max(self.length, entry.bucket)
        if self.entries:
            limits = self._limits
            if rows > limits.rows or limits.padded(rows) * length > limits.cells:
                self.crowded = True
                return False
            own_cells = self._own_cells + entry.rows * entry.bucket
            if rows * length - own_cells > min(limits.padding, own_cells):
                self._padded_out = True
                return False
        self.entries.append(entry)
        self.rows, self.length = rows, length
        self._own_cells += entry.rows * entry.bucket
        return True

    def shorten(self, cells: float) -> bool:
        """Keep as many as have no more cells than that together, from the first on, and at least him; return if less.

        So they are those that would have joined, had there been that much room.
        """
        rows = length = 0
        for number, entry in enumerate(self.entries):
            rows, length = rows + entry.rows, max(length, entry.bucket)
            if number and self._limits.padded(rows) * length > cells:
                del self.entries[number:]
                self.rows = sum(entry.rows for entry in self.entries)
                self.length = max(entry.bucket for entry in self.entries)
                return True
        return False


def join(buckets: Sequence[int], first: int, waiting: Callable[[int], Iterable[E]], limits: Limits) -> Joint[E]:
    """Return the batch of the first who waits in the bucket ``first``.

    ``buckets`` are all in which somebody waits who might join, ascending; ``waiting`` returns who, in order.
    """
    joint: Joint[E] = Joint(limits)
    low = bisect_left(buckets, first)
    high = low + 1
    bucket: int | None = first
    while bucket is not None and all(joint.take(entry) for entry in waiting(bucket)):
        shorter = joint.padding_with(1, buckets[low - 1]) if low > 0 else inf
        longer = joint.padding_with(1, buckets[high]) if high < len(buckets) else inf
        if shorter == longer == inf:
            bucket = None
        elif shorter <= longer:
            low -= 1
            bucket = buckets[low]
        else:
            bucket = buckets[high]
            high += 1
    return joint


class Fitted(NamedTuple, Generic[E]):
    """Who fits into a batch, their rows, why no more if anything does, who is late, and the padded cells, if any."""

    taken: list[E]
    rows: int
    reason: CloseReason | None
    late: list[E]
    cells: int = 0


def fitted(joint: Joint[E], forecast: Forecast, now: float) -> Fitted[E]:
    """Hold a batch that would start now against its members' deadlines.

    Who would be late in it shortens it, unless more wait than it can hold: then there is no time to lose for the many,
    and he is late. So is everybody who could not be answered in time even alone.
    """
    reason = joint.reason
    ends_s = now + forecast.safe_execution_s(now, joint.cells)
    hasty = [entry for entry in joint.entries if entry.answer_by_s < ends_s]
    late = [
        entry
        for entry in hasty
        if joint.crowded or entry.answer_by_s < now + forecast.safe_execution_s(now, joint.cells_alone(entry))
    ]
    if hasty and not late:
        most = forecast.rows_within(min(entry.answer_by_s for entry in hasty) - now)
        if joint.shorten(most):
            reason = CloseReason.DEADLINE
    return Fitted(joint.entries, joint.rows, reason, late, joint.cells)


class Buckets:
    """The lengths in which somebody waits, for each sort of requests that may be joined."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[object, list[int]] = {}

    def __getitem__(self, key: object) -> Sequence[int]:
        return self._by_key[key]

    def add(self, key: object, bucket: int) -> None:
        """Take note of the first who waits there."""
        insort(self._by_key.setdefault(key, []), bucket)

    def remove(self, key: object, bucket: int) -> None:
        """Take note that nobody waits there any more."""
        buckets = self._by_key[key]
        del buckets[bisect_left(buckets, bucket)]
        if not buckets:
            del self._by_key[key]
