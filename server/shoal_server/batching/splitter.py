"""Requests that are computed in parts, on their way through one version's line."""

from collections.abc import Callable, Iterable, Sequence

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.forecast import Forecast
from shoal_server.batching.parts import Part, Split
from shoal_server.batching.ticket import Ticket
from shoal_server.errors import DeadlineExceeded, Overloaded, ShoalError
from shoal_server.options import BatchingOptions


class Splitter:
    """Keeps the parts of large requests in the line. Loop only.

    The batcher tells of parts that were dispatched and that ended; ``over`` is called, once, with a request of which
    nothing waits or runs any more, and when its first part was dispatched (None where none was).
    """

    def __init__(
        self,
        backlog: Backlog[Ticket],
        forecast: Forecast,
        options: BatchingOptions,
        slots: int,
        over: Callable[[Ticket, float | None], None],
    ) -> None:
        self._backlog = backlog
        self._forecast = forecast
        self._most_rows = options.max_rows
        self._may_grow = not options.allowed_rows
        self._slots = slots
        self._over = over
        self._splits: dict[Ticket, Split] = {}

    def __len__(self) -> int:
        return len(self._splits)

    def offer(self, ticket: Ticket) -> None:
        """Put a request's first parts into the line; if they are refused, so is the request.

        Raises:
            InvalidRequest: it would be too many parts.
            Overloaded: the line is full, or too long for the deadline; nothing was added.
            DeadlineExceeded: the model takes longer than the deadline allows; nothing was added.
        """
        split = Split(ticket, self._most_rows, self._slots, may_grow=self._may_grow)
        first, *others = split.next_parts(ticket.arrived_s, self._forecast)
        where = f"for the first of {split.parts} batches that {ticket.rows} rows take"
        try:
            self._backlog.offer(first)
        except Overloaded as error:
            split.under_way.clear()  # each holds the other
            raise Overloaded(f"{error}, {where}", error.bound, retry_after_s=error.retry_after_s) from None
        except DeadlineExceeded as error:
            split.under_way.clear()
            raise DeadlineExceeded(f"{error}, {where}") from None
        for part in others:
            self._backlog.add(part)
        self._splits[ticket] = split

    def dispatched(self, tickets: Iterable[Ticket], now: float) -> bool:
        """Some are about to run; return whether parts are among them."""
        parts = [ticket for ticket in tickets if isinstance(ticket, Part)]
        for part in parts:
            if part.split.dispatched_s is None:
                part.split.dispatched_s = now
        return bool(parts)

    def ended(self, tickets: Sequence[Ticket], now: float) -> list[Ticket]:
        """Some left the line or their batch; see to it that the next parts come, and return those that are no parts."""
        others: list[Ticket] = []
        touched: dict[Split, None] = {}
        for ticket in tickets:
            if isinstance(ticket, Part):
                ticket.split.ended(ticket)
                touched[ticket.split] = None
            else:
                others.append(ticket)
        for split in touched:
            self._go_on(split, now)
        return others

    def left(self, ticket: Ticket, now: float) -> None:
        """A caller left, perhaps of a request in parts: those that wait are dropped."""
        split = self._splits.get(ticket)
        if split is not None:
            self._go_on(split, now)

    def fail_waiting(self, error: ShoalError, now: float) -> None:
        """Answer everyone with an error who has parts that are not in the line yet."""
        for split in list(self._splits.values()):
            if split.has_more:
                split.ticket.fail(error)
                self._go_on(split, now)

    def _go_on(self, split: Split, now: float) -> None:
        if split.ticket.answered:
            for part in list(split.under_way):
                if self._backlog.withdraw(part):
                    split.ended(part)
        for part in split.next_parts(now, self._forecast):
            self._backlog.add(part)
        if split.over and self._splits.pop(split.ticket, None) is not None:
            self._over(split.ticket, split.dispatched_s)

    def __repr__(self) -> str:
        return f"<Splitter {list(self._splits.values())}>"
