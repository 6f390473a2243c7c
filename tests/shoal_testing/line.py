"""The lines of a simulation: who stands in them, as the backlogs were told."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.flight import Flight
from shoal_server.batching.parts import Part
from shoal_server.batching.ticket import Ticket


@dataclass(eq=False)
class Standing:
    """A ticket that stands, or stood, in a line."""

    ticket: Ticket
    batcher: Batcher
    since_s: float = 0.0
    submitted_s: float | None = None
    removed: bool = False
    late: bool = False
    """Whether it stands there in the place of what stood there before."""

    def __post_init__(self) -> None:
        self.flight = self.ticket if isinstance(self.ticket, Flight) else None
        part = self.ticket if isinstance(self.ticket, Part) else None
        self.number = part.number if part else 0
        self.stands_in = bool(part or self.flight)
        self._asker = [part.split.ticket if part else self.ticket]

    @property
    def askers(self) -> list[Ticket]:
        """The tickets of the callers for whom it stands in the line."""
        return self._asker if self.flight is None else self.flight.followers

    @property
    def waits(self) -> bool:
        """Whether it should be there: who stands for somebody else stays until his batcher hears what became of him."""
        return self.submitted_s is None and not (self.removed if self.stands_in else self.ticket.answered)

    @property
    def is_bounded(self) -> bool:
        """Whether it was let in by itself, and so is within the line's bounds."""
        return not self.late and not self.number


class Lines:
    """All lines. ``watch`` must be told of each batcher when it is made; ``arrived`` is called with each newcomer."""

    def __init__(self, arrived: Callable[[Standing], None]) -> None:
        self.known: dict[Ticket, Standing] = {}
        self._arrived = arrived
        self._lines: dict[Batcher, list[Standing]] = {}

    def of(self, batcher: Batcher, leaving: Collection[Standing] = ()) -> list[Standing]:
        """Return those that wait, in order of arrival, and those that are just ``leaving``."""
        if not self._lines.get(batcher):
            return []
        line = self._lines[batcher] = [one for one in self._lines[batcher] if one.waits or one in leaving]
        return line

    def watch(self, batcher: Batcher) -> None:
        backlog: Any = batcher._backlog  # noqa: SLF001 - there is no other place at which all newcomers pass
        add, remove = backlog.add, backlog._remove  # noqa: SLF001

        def added(ticket: Ticket) -> None:
            add(ticket)
            one = self.known[ticket] = Standing(ticket, batcher)
            self._arrived(one)
            self._lines.setdefault(batcher, []).append(one)

        def removed(ticket: Ticket) -> None:
            remove(ticket)
            self.known[ticket].removed = True

        backlog.add, backlog._remove = added, removed  # noqa: SLF001
