"""What a trace is told of a request."""

from typing import Final

from shoal_server.transport.port import Trace

_MOST_NOTED: Final = 120  # characters


def note_asked(trace: Trace, model: str, request_id: str) -> None:
    """Tell a trace what was asked, cut to a length that a caller cannot abuse."""
    trace.note("shoal.model.name", model[:_MOST_NOTED])
    if request_id:
        trace.note("shoal.request.id", request_id[:_MOST_NOTED])


def note_admitted(trace: Trace, version: int, rows: int) -> None:
    """Tell a trace what the request turned out to be."""
    trace.note("shoal.model.version", str(version))
    trace.note("shoal.request.rows", rows)
