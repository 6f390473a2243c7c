"""The lines of a simulation: who stands in them, as the backlogs were told."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.flight import Flight
from shoal_server.batching.parts import Part
from shoal_server.batching.ticket import Ticket


def asked_by(ticket: Ticket) -> list[Ticket]:
    """Return the tickets of the callers for whom one stands in the line."""
    if isinstance(ticket, Flight):
        return list(ticket.followers)
    return [ticket.split.ticket] if isinstance(ticket, Part) else [ticket]


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

    @property
    def waits(self) -> bool:
        """Whether it should be there: who stands for somebody else stays until his batcher hears what became of him."""
        gone = self.removed if isinstance(self.ticket, Part | Flight) else self.ticket.answered
        return self.submitted_s is None and not gone

    @property
    def is_bounded(self) -> bool:
        """Whether it was let in by itself, and so is within the line's bounds."""
        return not self.late and not (isinstance(self.ticket, Part) and self.ticket.number)


class Lines:
    """All lines. ``watch`` must be told of each batcher when it is made; ``arrived`` is called with each newcomer."""

    def __init__(self, arrived: Callable[[Standing], None]) -> None:
        self.known: dict[Ticket, Standing] = {}
        self._arrived = arrived
        self._lines: dict[Batcher, list[Standing]] = {}

    def of(self, batcher: Batcher, leaving: Collection[Standing] = ()) -> list[Standing]:
        """Return those that wait, in order of arrival, and those that are just ``leaving``."""
        line = self._lines[batcher] = [one for one in self._lines.get(batcher, ()) if one.waits or one in leaving]
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
