"""Decides which calls are traced, before anything is built for them, and hears what became of those that are."""

import time
from collections.abc import Callable
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
from shoal_server.transport.port import Call, Metadata, Stream

_LOW_BITS: Final = 64
_LOW: Final = (1 << _LOW_BITS) - 1
_MOST_STATE: Final = 512  # characters of a tracestate (W3C Trace Context, 3.3.1.5)


class Tracer:
    """Lives on the loop. An Observer.

    As in OpenTelemetry's TraceIdRatioBased, the ratio holds for the low 64 bits of a trace's id, so that servers of one
    ratio agree on a trace.
    """

    def __init__(self, ratio: float, done: Callable[[Record], None], random: Random, *, callers: bool) -> None:
        """Take the share of calls, in [0, 1], and whether a caller's own trace decides in its place."""
        self._bound = round(ratio * (1 << _LOW_BITS))
        self._callers = callers
        self._done = done
        self._random = random
        self._bits = random.getrandbits

    def begin(self, call: Call | Stream) -> RequestTrace | None:
        """Return the record of a call that is traced."""
        parent = None
        metadata = call.metadata
        for key, value in metadata:
            if key == HEADER:
                parent = parse(value)
                break
        if parent is not None:
            return self._within(parent, call, metadata)
        low = self._bits(_LOW_BITS)
        if low >= self._bound:
            return None
        trace_number = self._bits(_LOW_BITS) << _LOW_BITS | low
        return self._record(call, trace_number or 1, 0, "")

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

    def _within(self, parent: Parent, call: Call | Stream, metadata: Metadata) -> RequestTrace | None:
        sampled = parent.sampled if self._callers else parent.trace_id & _LOW < self._bound
        if not sampled:
            return None
        state = next((value for key, value in metadata if key == STATE_HEADER), "")
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
