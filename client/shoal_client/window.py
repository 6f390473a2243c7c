"""When rows that wait to travel together leave: a pure policy.

A call through gRPC in Python costs some 150 us of CPU whatever it carries, so 32 rows in one request cost little more
than one. Nothing waits without need: where no request is under way, what came in one turn of the event loop leaves at
once; while one is, rows gather until it is answered, the window is full, or its time is up.
"""

from dataclasses import dataclass
from typing import Final

from shoal_client.errors import ConfigurationError

_MOST_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Coalescing:
    """How concurrent inferences of one row each travel as one request.

    Only calls of the same model, version, outputs, parameters, types and shapes travel together, and only where the
    model's metadata says that the first dimension of every input and output may have any size (and the server's
    configuration of the model, where it has one, that it batches). A request that fails for what is in it is sent again
    in halves, so that a row at fault fails alone. The request carries the trace of one of its rows, and no id.

    Attributes:
        max_rows: rows per request, from 2 to 4096; never more than the model's ``max_batch_size`` where one is known.
        max_delay_s: how long a row may wait for others, in seconds. A row whose deadline is nearer than that does not
            wait.
    """

    max_rows: int = 32
    max_delay_s: float = 0.002

    def __post_init__(self) -> None:
        if not 2 <= self.max_rows <= _MOST_ROWS:  # noqa: PLR2004 - one row alone is no company
            raise ConfigurationError(f"max_rows is from 2 to {_MOST_ROWS}, got {self.max_rows}")
        if not 0 <= self.max_delay_s <= 1:
            raise ConfigurationError(f"max_delay_s is from 0 to 1 s, got {self.max_delay_s}")


@dataclass(frozen=True, slots=True)
class Leave:
    """The first so many rows that wait leave now."""

    rows: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Nothing leaves before this time, in monotonic seconds, unless something else happens."""

    time_s: float


class Window:
    """The rows that wait for one kind of request. All times are monotonic, in seconds."""

    def __init__(self, max_rows: int, max_delay_s: float) -> None:
        self._max_rows = max_rows
        self._max_delay_s = max_delay_s
        self._latest_s: list[float] = []
        self.under_way = 0

    def offer(self, now_s: float, deadline_s: float) -> None:
        """A row waits, and must be answered by its deadline. It leaves early if waiting would use that up."""
        full_s = now_s + self._max_delay_s
        self._latest_s.append(full_s if deadline_s > full_s + self._max_delay_s else now_s)

    def withdraw(self, position: int) -> None:
        """The row at this position (0: the one that waits longest) has left without an answer."""
        del self._latest_s[position]

    def next(self, now_s: float) -> Leave | WakeAt | None:
        """Return what is to be done; None: nothing waits."""
        if not self._latest_s:
            return None
        latest_s = min(self._latest_s)
        if self.under_way == 0 or len(self._latest_s) >= self._max_rows or now_s >= latest_s:
            return Leave(min(len(self._latest_s), self._max_rows))
        return WakeAt(latest_s)

    def left(self, rows: int) -> None:
        """The first rows that waited are under way as one request."""
        del self._latest_s[:rows]
        self.under_way += 1

    def answered(self) -> None:
        """A request has ended."""
        self.under_way -= 1

    def __len__(self) -> int:
        return len(self._latest_s)
