"""Who calls, in one word, for quotas and fairness."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote

from shoal_server.options import CallerKey, CallerOptions
from shoal_server.transport.port import Metadata, Peer

MOST_CHARACTERS: Final = 256
"""Of a name that came over the wire; names of callers are kept."""


class Called(Protocol):
    """What calls and streams have in common here."""

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata."""
        ...

    @property
    def peer(self) -> Peer:
        """Who calls."""
        ...


CallerOf: TypeAlias = Callable[[Called], str]


def caller_of(options: CallerOptions | None) -> CallerOf | None:
    """Return what names the caller of a call; None where nobody needs to know, which then costs nothing."""
    if options is None:
        return None
    key = options.metadata_key.lower()
    match options.by:
        case CallerKey.ADDRESS:
            return lambda call: host_of(call.peer.address)
        case CallerKey.IDENTITY:
            return _identity
        case CallerKey.METADATA:
            return lambda call: _named(call, key)


def whose(options: CallerOptions | None) -> str:
    """Return how a transport tells callers apart that ``caller_of`` does, in the words of ``Call.hold``."""
    if options is None:
        return ""
    return options.metadata_key.lower() if options.by is CallerKey.METADATA else "connection"


@lru_cache(maxsize=4096)  # a connection has one address, and many calls
def host_of(address: str) -> str:
    """Return the host of an address as gRPC writes it: ``ipv4:127.0.0.1:9``, ``ipv6:%5B::1%5D:9`` or ``unix:path``."""
    kind, _colon, rest = address.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else address


def _identity(call: Called) -> str:
    peer = call.peer
    return peer.identity or host_of(peer.address)


def _named(call: Called, key: str) -> str:
    for name, value in call.metadata:
        if name == key and isinstance(value, str):
            return value[:MOST_CHARACTERS]
    return ""
