"""The header `traceparent` of the W3C (www.w3.org/TR/trace-context): whose trace a call belongs to."""

import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_SAMPLED: Final = 1


class Parent(NamedTuple):
    """The caller's span; ``sampled`` where the caller keeps its trace."""

    trace_id: int
    span_id: int
    sampled: bool


def parse(value: str | bytes) -> Parent | None:
    """Return what the header says, None where it is not one; a later version's is read as far as we know it."""
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace_id and parent.span_id else None
