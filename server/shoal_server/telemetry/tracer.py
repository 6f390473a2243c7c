"""Decides which calls are traced, before anything is built for them, and hears what became of those that are."""

import sys
import time
from collections.abc import Callable, Sequence
from math import log, log1p
from random import Random
from typing import Final

from shoal_server.events import BatchEnded, Event, OperationEnded
from shoal_server.telemetry.request_trace import (
    BatchTrace,
    OperationTrace,
    Record,
    RequestTrace,
    members_of,
    new_span_id,
    new_trace_id,
)
from shoal_server.telemetry.traceparent import HEADER, STATE_HEADER, Parent, parse
from shoal_server.transport.headers import header_finder
from shoal_server.transport.port import Call, Stream

_LOW_BITS: Final = 64
_LOW: Final = (1 << _LOW_BITS) - 1
_MOST_STATE: Final = 512  # characters of a tracestate (W3C Trace Context, 3.3.1.5)


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
        self._passing = self._gap()
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
                batch = BatchTrace(
                    event,
                    new_trace_id(self._random),
                    new_span_id(self._random),
                    now_ns - time.monotonic_ns(),
                    now_ns - time.perf_counter_ns(),
                )
                for member in members_of(event):
                    member.batched(batch)
                self._done(batch)
            case OperationEnded():
                self._done(OperationTrace(event, new_trace_id(self._random), time.time_ns() - time.monotonic_ns()))
            case _:
                pass

    def _gap(self) -> int:
        """Draw how many calls pass before the next one that is traced."""
        share = self._bound / (1 << _LOW_BITS)
        if share <= 0:
            return sys.maxsize
        return 0 if share >= 1 else int(log(1 - self._random.random()) / log1p(-share))

    def _by_ratio(self, call: Call | Stream) -> RequestTrace | None:
        self._passing -= 1
        if self._passing >= 0:
            return None
        trace = self._chosen(call)
        self._passing = self._gap()
        return trace

    def _by_ratio_alone(self, calls: Sequence[Call]) -> Sequence[tuple[int, RequestTrace]]:
        """Take those whose turn came within the calls, which were counted."""
        found = []
        while self._passing < 0:
            place = len(calls) + self._passing
            found.append((place, self._chosen(calls[place])))
            self._passing += 1 + self._gap()
        return found

    def _chosen(self, call: Call | Stream) -> RequestTrace:
        trace_number = self._random.getrandbits(_LOW_BITS) << _LOW_BITS | self._random.randrange(self._bound)
        return self._record(call, trace_number or 1, 0, "")

    def _within(self, parent: Parent, call: Call | Stream) -> RequestTrace | None:
        sampled = parent.sampled if self._callers else parent.trace_id & _LOW < self._bound
        if not sampled:
            return None
        state = next((value for key, value in call.metadata if key == STATE_HEADER), "")
        known = state if isinstance(state, str) and len(state) <= _MOST_STATE else ""
        return self._record(call, parent.trace_id, parent.span_id, known)

    def _record(self, call: Call | Stream, trace_number: int, parent_id: int, state: str) -> RequestTrace:
        return RequestTrace(
            call.method.removeprefix("/"),
            trace_number,
            parent_id,
            random=self._random,
            done=self._done,
            peer=call.peer.address,
            state=state,
        )
