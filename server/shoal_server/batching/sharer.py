"""Requests of the same content, on their way through one version: they share an execution, or an earlier answer.

Everybody was let in before, with his quotas and his share. An execution is only shared by requests of one caller and
one priority, where these are told apart: nobody waits longer than he would have, behind somebody else's line.
"""

from collections.abc import Callable, Sequence

from shoal_server.batching.answer_cache import AnswerCache, KeptAnswer
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.content import content_key
from shoal_server.batching.flight import Flight
from shoal_server.batching.statistics import Statistics
from shoal_server.batching.ticket import Ticket
from shoal_server.clock import Clock
from shoal_server.options import AnswerOptions


class Sharer:
    """Loop only. ``settled`` gets requests that are answered, which the sharer has counted.

    ``answer_known`` is to follow before long where something was offered; ``dispatched`` and ``ended`` are told of all
    that left the line.
    """

    def __init__(
        self,
        options: AnswerOptions,
        backlog: Backlog[Ticket],
        clock: Clock,
        statistics: Statistics,
        settled: Callable[[Sequence[Ticket]], None],
    ) -> None:
        self._shares = options.share_in_flight
        self._cache = AnswerCache(options.cache_bytes, options.cache_ttl_s) if options.cache_bytes else None
        self._backlog = backlog
        self._clock = clock
        self._statistics = statistics
        self._settled = settled
        self._flights: dict[tuple[bytes, str, int], Flight] = {}
        self._flight_of: dict[Ticket, Flight] = {}
        self._known: list[tuple[Ticket, KeptAnswer]] = []

    def offer(self, ticket: Ticket) -> None:
        """Have a request answered by what is known or under way, or put what computes it into the line.

        Raises:
            Overloaded: the line is full, or too long for the deadline; nothing was added.
            DeadlineExceeded: the model takes longer than the deadline allows; nothing was added.
        """
        content = content_key(ticket)
        if content is None:
            self._backlog.offer(ticket)
            return
        answer = self._cache.get(content, self._clock.monotonic()) if self._cache is not None else None
        if answer is not None:
            self._known.append((ticket, answer))
            return
        key = content, ticket.caller, ticket.priority
        flight = self._flights.get(key)
        if flight is not None and flight.takes(ticket):
            flight.followers.append(ticket)
            self._statistics.shared += 1
        else:
            flight = Flight(content, ticket, ticket.arrived_s, keeps=self._cache is not None)
            self._backlog.offer(flight)
            if self._shares:
                self._flights[key] = flight
            if self._cache is not None:
                self._statistics.cache_miss.add(int((self._clock.monotonic() - ticket.arrived_s) * 1e9), 1)
        self._flight_of[ticket] = flight

    def answer_known(self) -> None:
        """Answer those whose answers were known when they came."""
        known, self._known = self._known, []
        for ticket, answer in known:
            ticket.succeed(answer.outputs, 0, answer.rows)
            now = self._clock.monotonic()
            if ticket.ok:
                self._statistics.answered(ticket, ticket.arrived_s, now)
                self._statistics.cache_hit.add(int((now - ticket.arrived_s) * 1e9), 1)
            else:
                self._statistics.failed(ticket, now)
        if known:
            self._settled([ticket for ticket, _ in known])

    def left(self, ticket: Ticket, now: float) -> None:
        """A caller left, perhaps one who shares an execution."""
        flight = self._flight_of.get(ticket)
        if flight is None:
            return
        if flight.deserted and self._backlog.withdraw(flight):
            self._over(flight, now)
        elif flight in self._backlog:
            flight.remove(ticket)
            self._settle([ticket], flight, now)

    def dispatched(self, tickets: Sequence[Ticket], now: float) -> None:
        """Some are about to run."""
        for ticket in tickets:
            if isinstance(ticket, Flight):
                ticket.dispatched_s = now

    def ended(self, tickets: Sequence[Ticket], now: float) -> list[Ticket]:
        """Some left the line or their batch; settle those of flights, and return the others."""
        others: list[Ticket] = []
        for ticket in tickets:
            if isinstance(ticket, Flight):
                self._over(ticket, now)
            else:
                others.append(ticket)
        return others

    def close(self) -> None:
        """Forget all answers: the version is gone."""
        assert not self._flight_of, "a version goes when all of its requests are settled"
        if self._cache is not None:
            self._cache.clear()

    def _over(self, flight: Flight, now: float) -> None:
        """Settle those who were answered, answer those who joined late, and put the others into the line alone."""
        key = flight.content, flight.caller, flight.priority
        if self._flights.get(key) is flight:
            del self._flights[key]
        if self._cache is not None and flight.kept is not None:
            self._cache.put(flight.content, flight.kept, now)
        done: list[Ticket] = []
        for follower in flight.followers:
            if flight.answer is not None:
                follower.succeed(*flight.answer)
            if follower.answered:
                done.append(follower)
            else:
                alone = Flight(flight.content, follower, now, keeps=self._cache is not None)
                self._flight_of[follower] = alone
                self._backlog.add(alone)
        self._settle(done, flight, now)

    def _settle(self, tickets: Sequence[Ticket], flight: Flight, now: float) -> None:
        for ticket in tickets:
            del self._flight_of[ticket]
            if ticket.ok:
                self._statistics.answered(ticket, min(flight.dispatched_s, now), now)
            else:
                self._statistics.failed(ticket, now)
        if tickets:
            self._settled(tickets)

    def __repr__(self) -> str:
        return f"<Sharer {len(self._flight_of)} in {len(self._flights)} flights, {self._cache!r}>"
