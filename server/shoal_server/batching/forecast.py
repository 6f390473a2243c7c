"""When a request that comes now would be answered, by what batches have taken so far. Pure.

Three things are known of a model: what a batch of so many rows takes (``cost``), when the first of those that run
should end, and how many rows a second leave the line while it is longer than a batch. The last says more than the first
where other models use the same slots, or where requests cannot be joined.

Whatever is not known is taken to be free, so that nobody is refused on a guess: a model without evidence refuses
nobody, and neither does one that has not run for a while, whose next request is its next measurement. Rows are the
measure of cost everywhere here, and padded cells (rows times length) where the owner declares lengths: then read
"cells" for "rows". ``BatchingOptions.padded`` says what a batch of some rows really computes.
"""

from collections.abc import Iterable
from typing import Final

from shoal_server.batching.cost import CostModel
from shoal_server.errors import Bound, DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions

ENOUGH_BATCHES: Final = 4
"""As many batches, or runs of the warm-up, are evidence."""

_STALE_S: Final = 1.0  # after which what is known of a model's cost is no reason any more to refuse to run it
_STALE_BATCHES: Final = 4.0  # the same, in batches, for models that take longer
_SAFE_DEVIATIONS: Final = 2.0
_DOUBT: Final = 1.0 / 8  # of a wait: on a machine that others use, too, a line moves more slowly than it just did
_FORGET: Final = 1.0 - 1.0 / 16  # per batch
_OVERHEAD: Final = 1.0 / 32  # of a batch's time: as little as its base cost gets, a larger one does not pay any more
_LONG_MEMORY: Final = 512  # batches: the base is a small part of each, and seen through much noise
_WARM_WEIGHT: Final = 64.0  # of what the warm-up measured for that, in batches
_LEAST_CELLS: Final = 256
_MOST_CELLS: Final = 1 << 20
_GUESSED_DRAIN_S: Final = 0.05  # how long a line takes to get shorter where nothing is known of the model


class Forecast:
    """What one version's batches are expected to take. Loop only; all times are monotonic seconds."""

    __slots__ = (
        "_allowed_rows",
        "_drained_rows",
        "_drained_s",
        "_effort",
        "_ends",
        "_finds_full",
        "_last_end_s",
        "_padded",
        "_varies",
        "cost",
        "full_cost",
        "slots",
        "spare_cost",
        "trusted_until_s",
    )

    def __init__(self, options: BatchingOptions, slots: int = 1, timings: Iterable[tuple[int, float]] = ()) -> None:
        """``slots`` batches may run at once; ``timings`` are what the warm-up measured."""
        lengths = options.lengths
        self.cost = CostModel(timings)
        self.full_cost = options.max_rows if lengths is None else lengths.max_cells or _LEAST_CELLS
        """Of the largest batch: its rows; with lengths its cells, without the owner's limit as many as still pay."""
        self.spare_cost = 0
        """Cells whose computation takes as long as to begin a batch: with lengths, what may be padding."""
        self._varies = lengths is not None
        # What padding, and a batch more, take of a processor: seconds on the clock are those of a busy machine, too.
        self._effort = CostModel(timings if lengths is not None else (), memory=_LONG_MEMORY, warm_weight=_WARM_WEIGHT)
        self._finds_full = lengths is not None and not lengths.max_cells
        self._allowed_rows = () if lengths is not None else options.allowed_rows
        self._padded = options.padded
        self.slots = slots
        self._ends: list[float] = []  # when each batch that runs should end
        self.trusted_until_s = 0.0
        """Until when enough is known, and lately enough, to refuse somebody for it."""
        self._last_end_s: float | None = None  # while the line is longer than a batch
        self._drained_rows = 0.0
        self._drained_s = 0.0
        if self._varies:
            self._weigh()

    def started(self, now: float, rows: int) -> float:
        """Note that a batch starts; return what ``ended`` takes to know it by."""
        ends_s = now + self.execution_s(rows)
        self._ends.append(ends_s)
        return ends_s

    def ended(self, now: float, token: float, rows: int, *, pressed: bool) -> None:
        """Note that a batch left its slot; ``pressed`` says that more waited than it could take when it started."""
        self._ends.remove(token)
        self.drained(now, rows, pressed=pressed)

    def drained(self, now: float, rows: int, *, pressed: bool) -> None:
        """Note that so many rows left the line, as one batch; ``pressed`` as for ``ended``."""
        if not pressed:
            self._last_end_s = None
            return
        if self._last_end_s is not None:
            self._drained_rows = _FORGET * self._drained_rows + rows
            self._drained_s = _FORGET * self._drained_s + now - self._last_end_s
        self._last_end_s = now

    def observe(self, now: float, rows: int, took_s: float, cpu_s: float = 0.0) -> None:
        """Learn from a batch that ran to its end and kept a slot for ``took_s``, and with lengths its thread's CPU."""
        self.cost.observe(self._padded(rows) if self._allowed_rows else rows, took_s)
        if self._varies:
            self._effort.observe(rows, cpu_s)
            self._weigh()
        if self.cost.batches >= ENOUGH_BATCHES:
            self.trusted_until_s = now + max(_STALE_S, _STALE_BATCHES * took_s)

    def execution_s(self, rows: int) -> float:
        """Return how long a batch of so many rows should take."""
        return self.cost.base_s + self.cost.cost_s * self._cost(rows)

    def alone_s(self, rows: int, bucket: int) -> float:
        """Return how long a request should take by itself; ``bucket`` is 0 where lengths do not vary."""
        return self.execution_s(self._padded(rows) * bucket if bucket else rows)

    def safe_execution_s(self, now: float, rows: int) -> float:
        """Return within what time a batch of so many rows almost surely ends; 0 where nothing is known."""
        if now >= self.trusted_until_s:
            return 0.0
        return self.execution_s(rows) + _SAFE_DEVIATIONS * self.cost.deviation_s

    def rows_within(self, left_s: float) -> int:
        """Return how many rows almost surely end within ``left_s``, where one row does."""
        cost = self.cost
        spare_s = left_s - cost.base_s - _SAFE_DEVIATIONS * cost.deviation_s
        # A millionth more: what was just computed the other way round must not fail by a rounding error.
        most = int(spare_s / cost.cost_s * (1.0 + 1e-6)) if cost.cost_s > 0.0 else self.full_cost
        return max((rows for rows in self._allowed_rows if rows <= most), default=most)

    def wait_s(self, now: float, rows: int, ahead_rows: int) -> float:
        """Return how long a request that comes now waits for its batch, behind ``ahead_rows`` rows."""
        if self._last_end_s is None and len(self._ends) < self.slots:
            return 0.0
        free_in_s = max(min(self._ends, default=now) - now, 0.0)
        return free_in_s + self._batches_before(rows, ahead_rows) * self._interval_s()

    def batch_s(self, rows: int, ahead_rows: int) -> float:
        """Return how long the batch should take that such a request will be in."""
        most = self.full_cost
        if self._batches_before(rows, ahead_rows):
            return self.execution_s(max(rows, most))  # behind a full batch there are others to fill its own
        return self.execution_s(max(rows, min(rows + ahead_rows, most)))

    def doubt_s(self, wait_s: float) -> float:
        """Return by how much later than foretold the answer may come of one who waits for ``wait_s``.

        At the door as when his turn has come (`safe_execution_s`): who is let in and given up then has lost all that he
        waited, and the places that he took were others'.
        """
        return _DOUBT * wait_s + _SAFE_DEVIATIONS * self.cost.deviation_s

    def check(self, now: float, rows: int, ahead_rows: int, deadline_s: float, answer_by_s: float) -> None:
        """Let pass who would start by ``deadline_s`` and end by ``answer_by_s``, behind ``ahead_rows`` rows.

        Raises:
            DeadlineExceeded: the model alone takes longer.
            Overloaded: those before it take too long.
        """
        left_s = answer_by_s - now
        alone_s = self.cost.base_s + self.cost.cost_s * (self._padded(rows) if self._allowed_rows else rows)
        if alone_s > left_s:
            raise DeadlineExceeded(f"the deadline is in {_ms(left_s)}, and the model takes {_ms(alone_s)}")
        if self._last_end_s is None and len(self._ends) < self.slots:
            return  # a slot is free
        wait_s = self.wait_s(now, rows, ahead_rows)
        if wait_s <= 0.0:
            return
        late_s = wait_s + self.batch_s(rows, ahead_rows) + self.doubt_s(wait_s) - left_s
        if late_s > 0.0:
            when = f"the answer may take {_ms(left_s + late_s)}, and the deadline is in {_ms(left_s)}"
        else:
            late_s = wait_s + now - deadline_s
            if late_s <= 0.0:
                return
            when = f"its batch would start in {_ms(wait_s)}, and it may wait for {_ms(wait_s - late_s)}"
        raise Overloaded(
            f"all slots are busy and {ahead_rows} rows are waiting before it: {when}",
            Bound.DEADLINE,
            retry_after_s=max(late_s, wait_s / 2),
            late_s=late_s,
        )

    def drain_s(self, rows: float) -> float:
        """Return how long the line takes to lose so many rows."""
        if not self.cost.batches and not self._drained_rows:
            return _GUESSED_DRAIN_S
        return rows / self.full_cost * self._interval_s()

    def _weigh(self) -> None:
        """Find out what padding, and which batches, pay."""
        cost = self._effort
        if cost.batches >= ENOUGH_BATCHES:
            spare = cost.base_s / cost.cost_s if cost.cost_s > 0.0 else _MOST_CELLS
            self.spare_cost = min(int(spare), _MOST_CELLS)
            if self._finds_full:
                # Smaller ones are not worth the trouble, whatever a busy machine makes of the base.
                self.full_cost = min(max(int(spare / _OVERHEAD), _LEAST_CELLS), _MOST_CELLS)

    def _batches_before(self, rows: int, ahead_rows: int) -> int:
        most = self.full_cost
        if rows >= most:
            return -(-ahead_rows // most)
        return (ahead_rows + rows - 1) // most if rows else ahead_rows // most

    def _interval_s(self) -> float:
        """Return the time from one full batch to the next."""
        if self._last_end_s is not None and self._drained_rows:
            return self.full_cost * self._drained_s / self._drained_rows
        return self.execution_s(self.full_cost) / self.slots

    def _cost(self, rows: int) -> int:
        return self._padded(rows) if self._allowed_rows else rows

    def __repr__(self) -> str:
        return f"<Forecast {self.cost!r}, {len(self._ends)} of {self.slots} slots busy>"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
