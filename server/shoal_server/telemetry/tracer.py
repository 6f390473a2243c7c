"""Decides which calls are traced, before anything is built for them, and hears what became of those that are."""

import sys
import time
from collections.abc import Callable, Sequence
from math import log, log1p
from random import Random
from typing import Final, NamedTuple

from shoal_server.events import BatchEnded, Event, OperationEnded
from shoal_server.telemetry.request_trace import (
    BatchTrace,
    OperationTrace,
    Record,
    RequestTrace,
    new_span_id,
    new_trace_id,
)
from shoal_server.telemetry.traceparent import HEADER, STATE_HEADER, Parent, parse
from shoal_server.transport.headers import header_finder
from shoal_server.transport.port import Call, Stream

_LOW_BITS: Final = 64
_LOW: Final = (1 << _LOW_BITS) - 1
_AT_ONCE: Final = 64
_MOST_STATE: Final = 512  # characters of a tracestate (W3C Trace Context, 3.3.1.5)


class _Drawn(NamedTuple):
    """How many calls pass until the next that is traced, and the ids of its trace and its span."""

    passing: int
    trace_number: int
    number: int


class Tracer:
    """Lives on the loop. An Observer.

    As in OpenTelemetry's TraceIdRatioBased, the ratio holds for the low 64 bits of a trace's id, so that servers of one
    ratio agree on a trace. Where no id came with a call, none is drawn to be compared and thrown away. Drawn is how
    many calls pass until the next one that is traced, which has the geometric distribution that such comparisons give,
    and then an id among those that the ratio holds for.
    """

    def __init__(self, ratio: float, done: Callable[[Record], None], random: Random, *, callers: bool) -> None:
        """Take the share of calls, in [0, 1], and whether a caller's own trace decides in its place."""
        self._bound = round(ratio * (1 << _LOW_BITS))
        self._callers = callers
        self._done = done
        self._random = random
        self._carrying = header_finder()
        self._drawn: list[_Drawn] = []
        self._next = self._draw()
        self._passing = self._next.passing
        """How many calls without an id pass before the next one that is traced."""

    def begin(self, call: Call | Stream) -> RequestTrace | None:
        """Return the record of a call that is traced."""
        parent = parse(next((value for key, value in call.metadata if key == HEADER), ""))
        return self._within(parent, call) if parent is not None else self._by_ratio(call)

    def begin_all(self, calls: Sequence[Call]) -> Sequence[tuple[int, RequestTrace]]:
        """Return the places of those that are traced, in order, and their records."""
        carried = self._carrying(calls, HEADER)
        if not carried:
            self._passing -= len(calls)
            if self._passing >= 0:
                return ()
            return self._by_ratio_alone(calls)
        parents = {place: parse(value) for place, value in carried}
        found = []
        for place, call in enumerate(calls):
            parent = parents.get(place)
            trace = self._within(parent, call) if parent is not None else self._by_ratio(call)
            if trace is not None:
                found.append((place, trace))
        return found

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case BatchEnded():
                now_ns = time.time_ns()
                ids = self._random.getrandbits(_LOW_BITS * 3)
                batch = BatchTrace(
                    event,
                    ids >> _LOW_BITS or 1,
                    ids & _LOW or 1,
                    now_ns - time.monotonic_ns(),
                    now_ns - time.perf_counter_ns(),
                )
                for member in event.members:
                    if isinstance(member, RequestTrace):
                        member.batched(batch)
                self._done(batch)
            case OperationEnded():
                self._done(OperationTrace(event, new_trace_id(self._random), time.time_ns() - time.monotonic_ns()))
            case _:
                pass

    def _draw(self) -> "_Drawn":
        """Return when the next one is traced, and with which ids; many are drawn at once, as each costs less so."""
        if not self._drawn:
            random, share = self._random, self._bound / (1 << _LOW_BITS)
            if share <= 0:
                return _Drawn(sys.maxsize, 0, 0)
            for _ in range(_AT_ONCE):
                passing = int(log(1 - random.random()) / log1p(-share)) if share < 1 else 0
                trace_number = random.getrandbits(_LOW_BITS) << _LOW_BITS | random.randrange(self._bound)
                self._drawn.append(_Drawn(passing, trace_number or 1, new_span_id(random)))
        return self._drawn.pop()

    def _by_ratio(self, call: Call | Stream) -> RequestTrace | None:
        self._passing -= 1
        return None if self._passing >= 0 else self._chosen(call)

    def _by_ratio_alone(self, calls: Sequence[Call]) -> Sequence[tuple[int, RequestTrace]]:
        """Take those whose turn came within the calls, which were counted."""
        found = []
        while self._passing < 0:
            place = len(calls) + self._passing
            found.append((place, self._chosen(calls[place])))
        return found

    def _chosen(self, call: Call | Stream) -> RequestTrace:
        _, trace_number, number = self._next
        self._next = self._draw()
        self._passing += 1 + self._next.passing
        return self._record(call, trace_number, 0, "", number)

    def _within(self, parent: Parent, call: Call | Stream) -> RequestTrace | None:
        sampled = parent.sampled if self._callers else parent.trace_id & _LOW < self._bound
        if not sampled:
            return None
        state = next((value for key, value in call.metadata if key == STATE_HEADER), "")
        known = state if isinstance(state, str) and len(state) <= _MOST_STATE else ""
        return self._record(call, parent.trace_id, parent.span_id, known)

    def _record(
        self, call: Call | Stream, trace_number: int, parent_id: int, state: str, number: int = 0
    ) -> RequestTrace:
        return RequestTrace(
            call.method.removeprefix("/"),
            trace_number,
            parent_id,
            random=self._random,
            done=self._done,
            peer=call.peer.address,
            state=state,
            number=number,
        )
