"""What a trace is told of a request."""

from typing import Final

from shoal_server.transport.port import Trace

_MOST_NOTED: Final = 120  # characters
_VERSION: Final = "shoal.model.version"
_ROWS: Final = "shoal.request.rows"


def note_asked(trace: Trace, model: str, request_id: str) -> None:
    """Tell a trace what was asked, cut to a length that a caller cannot abuse."""
    trace.note(_asked(model, request_id))


def note_admitted(trace: Trace, version: int, rows: int) -> None:
    """Tell a trace what the request turned out to be."""
    trace.note({_VERSION: str(version), _ROWS: rows})


def note_answered(trace: Trace, model: str, request_id: str, version: int, rows: int) -> None:
    """Tell a trace all of it."""
    trace.note({**_asked(model, request_id), _VERSION: str(version), _ROWS: rows})


def _asked(model: str, request_id: str) -> dict[str, str | int]:
    asked: dict[str, str | int] = {"shoal.model.name": model[:_MOST_NOTED]}
    if request_id:
        asked["shoal.request.id"] = request_id[:_MOST_NOTED]
    return asked
