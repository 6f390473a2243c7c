"""Which calls of a list carry a header, without building all of their metadata for that."""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from shoal_server.transport.port import Call


class Carrying(Protocol):
    """Finds a header, which is text, in a list of calls."""

    def __call__(self, calls: Sequence[Call], header: str, /) -> Sequence[tuple[int, str | bytes]]:
        """Return the places of the calls that carry it, in order, each with the header's first value."""
        ...


def _carrying(calls: Sequence[Call], header: str, /) -> Sequence[tuple[int, str | bytes]]:
    found = []
    for place, call in enumerate(calls):
        value = next((value for key, value in call.metadata if key == header), None)
        if value is not None:
            found.append((place, value))
    return found


def header_finder() -> Carrying:
    """Return what finds headers: the crate's, where that is installed; it takes calls of either transport."""
    try:
        native = import_module("shoal_native")
    except ImportError:
        return _carrying
    finder: Carrying = native.carrying
    return finder
