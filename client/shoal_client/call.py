"""One call: what is sent, what comes back, and what its failure means to the retry policy."""

from dataclasses import dataclass, field
from typing import NamedTuple

import grpc.aio

from shoal_client.errors import CallError
from shoal_client.options import Metadata
from shoal_client.retry import Failed, Pushback, may_mend

Headers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be sent.

    ``idempotent``: sending it twice does no harm; ``hedge``: it may be sent twice at once; ``only``: the one target
    that is meant, by its position, None for any.
    """

    path: str
    message: bytes
    timeout_s: float
    model: str = ""
    metadata: Metadata = field(default_factory=dict)
    idempotent: bool = True
    hedge: bool = False
    only: int | None = None


class Reply(NamedTuple):
    """The bytes that came, how often the call was sent, and whether a second copy was because the first was slow."""

    message: bytes
    target: str
    attempts: int
    hedged: bool


def failed_of(error: CallError, *, elsewhere: bool = False) -> Failed:
    """Return what the retry policy has to know of an error; ``elsewhere``: nobody was reached, and there is another."""
    if error.never_retry:
        return Failed(error.status, Pushback(None))
    pushback = Pushback(error.retry_after_s) if error.retry_after_s is not None else None
    return Failed(error.status, pushback, elsewhere and pushback is None)


def leaves_hope(error: BaseException) -> bool:
    """Whether the same request may succeed elsewhere or later."""
    return isinstance(error, CallError) and may_mend(failed_of(error))


def trailer_of(raised: grpc.aio.AioRpcError, name: str) -> str | None:
    """Return what a failed call said besides its status; None if it did not."""
    for key, value in raised.trailing_metadata() or ():
        if key == name:
            return value.decode("latin-1") if isinstance(value, bytes) else value
    return None
