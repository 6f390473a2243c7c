"""How a call ended whose caller left: a transport is told that it is over, and not why."""

from typing import Final

from shoal_server.transport.port import Status

_TRANSIT_S: Final = 0.01
"""A caller whose deadline has passed says so at once, and counts it from when it sent: before ours passes."""


def status_of_leaving(deadline_s: float | None, now: float) -> Status:
    """Return DEADLINE_EXCEEDED where the deadline has come, else CANCELLED; both times are monotonic seconds."""
    passed = deadline_s is not None and deadline_s - _TRANSIT_S <= now
    return Status.DEADLINE_EXCEEDED if passed else Status.CANCELLED
