"""The door: how much the server holds at once, over all models."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shoal_server.admission.callers import Callers, Room
from shoal_server.errors import Bound, Overloaded, Unavailable
from shoal_server.options import AdmissionOptions


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What is inside now, and how many were refused since the start."""

    requests: int
    rows: int
    size_bytes: int
    refused: int


class Held(Protocol):
    """What a request holds of the gate."""

    rows: int
    size_bytes: int
    caller: str
    """The account that ``admit`` returned."""


class Gate:
    """Permits in requests, rows and bytes. Loop only; refusing costs next to nothing and never waits.

    ``refusals`` counts by bound those refused since the start, ``refused_draining`` those who came after ``close``.
    """

    def __init__(self, options: AdmissionOptions, callers: Callers | None = None) -> None:
        """With ``callers``, each has his quotas and his share; without, they are all one."""
        self._options = options
        self._callers = callers
        self._closed = False
        # Whether a deadline can be met is judged by the lines.
        self.refusals: dict[Bound, int] = {bound: 0 for bound in Bound if bound is not Bound.DEADLINE}
        self.refused_draining = 0
        self._emptied: asyncio.Future[None] | None = None
        self.requests = 0
        self.rows = 0
        self.size_bytes = 0

    def admit(self, rows: int, size_bytes: int, caller: str = "", now: float = 0.0) -> str:
        """Let a request in; ``release`` must follow with the same figures and with the account that is returned.

        Raises:
            Unavailable: the server is draining.
            Overloaded: a bound or a quota is reached. A request too large for an empty server passes alone.
        """
        options = self._options
        if self._closed:
            self.refused_draining += 1
            raise Unavailable("the server is draining")
        if self.requests and not self._fits(1, rows, size_bytes):
            bound = self._exceeded(rows)
            self.refusals[bound] += 1
            raise Overloaded(
                f"the server is overloaded: it holds {self.requests} of {options.max_requests} requests, "
                f"{self.rows} of {options.max_rows} rows, {self.size_bytes} of {options.max_bytes} bytes",
                bound,
            )
        account = caller
        if self._callers is not None:
            room = Room(
                options.max_requests - self.requests, options.max_rows - self.rows, options.max_bytes - self.size_bytes
            )
            try:
                account = self._callers.admit(caller, rows, size_bytes, now, room)
            except Overloaded as error:
                self.refusals[error.bound] += 1
                raise
        self.requests += 1
        self.rows += rows
        self.size_bytes += size_bytes
        return account

    @property
    def rows_each(self) -> float:
        """How many rows a request inside has, on average."""
        return self.rows / self.requests if self.requests else 0.0

    def has_room(self, requests: int, rows: int, size_bytes: int) -> bool:
        """Whether so many would be let in, and none of them for being alone; callers have no quotas here."""
        return not self._closed and self._callers is None and self._fits(requests, rows, size_bytes)

    def refused_again(self, bound: Bound, times: int) -> None:
        """So many were refused for the same reason as one before them."""
        self.refusals[bound] += times

    def release(self, rows: int, size_bytes: int, account: str = "") -> None:
        """A request that was let in has left."""
        if self._callers is not None:
            self._callers.release(account, rows, size_bytes)
        self.requests -= 1
        self.rows -= rows
        self.size_bytes -= size_bytes
        assert self.requests >= 0, "a permit is released once"
        if not self.requests and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def release_all(self, held: Sequence[Held]) -> None:
        """Several that were let in have left."""
        if self._callers is not None:
            for one in held:
                self.release(one.rows, one.size_bytes, one.caller)
            return
        self.requests -= len(held) - 1
        first, *others = held
        self.rows -= sum([one.rows for one in others])
        self.size_bytes -= sum([one.size_bytes for one in others])
        self.release(first.rows, first.size_bytes)

    def close(self) -> None:
        """Let nobody in from now on."""
        self._closed = True

    def open(self) -> None:
        """Let everybody in again."""
        self._closed = False

    async def emptied(self) -> None:
        """Wait until nobody is inside; meaningful once the gate is closed."""
        while self.requests:
            if self._emptied is None or self._emptied.done():
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)  # others may wait for the same

    def statistics(self) -> GateStatistics:
        """Return what is inside now."""
        return GateStatistics(self.requests, self.rows, self.size_bytes, sum(self.refusals.values()))

    def _fits(self, requests: int, rows: int, size_bytes: int) -> bool:
        options = self._options
        return (
            self.requests + requests <= options.max_requests
            and self.rows + rows <= options.max_rows
            and self.size_bytes + size_bytes <= options.max_bytes
        )

    def _exceeded(self, rows: int) -> Bound:
        """Return the first bound that keeps a request of so many rows out; one does."""
        if self.requests >= self._options.max_requests:
            return Bound.REQUESTS
        return Bound.ROWS if self.rows + rows > self._options.max_rows else Bound.BYTES

    def __repr__(self) -> str:
        return f"<Gate {self.requests} requests, {self.rows} rows, {self.size_bytes} bytes inside>"
