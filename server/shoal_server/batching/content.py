"""What decides a request's answer, in a few bytes that no other content has."""

from hashlib import sha256
from typing import Final

from shoal_server.batching.ticket import Ticket
from shoal_server.tensors.value import IN_PLACE

MOST_CONTENT_BYTES: Final = 1 << 20
"""Requests with more are not looked at: the loop does it, and takes half a millisecond for as many."""

_TEXT_BYTES: Final = 64  # of memory that a string takes at the least, whatever is in it


def content_key(ticket: Ticket) -> bytes | None:
    """Return a digest of all that the model is given; None where that is too much to look at.

    The inputs stand in the signature's order, so their names and types are those of the version. Which outputs a caller
    wants does not matter: all are computed, and each answer is made of those that its own request names. Of a request's
    parameters, none reaches the model.
    """
    size_bytes = 0
    for value in ticket.values:
        if value is not None:
            size_bytes += len(value.payload) * (_TEXT_BYTES if isinstance(value.payload, list) else 1)
    if size_bytes > MOST_CONTENT_BYTES:
        return None
    digest = sha256()
    for value in ticket.values:
        if value is None:
            digest.update(b"-")
            continue
        shape, payload = value
        digest.update(repr(shape).encode())
        if not isinstance(payload, list):
            digest.update(payload if isinstance(payload, IN_PLACE) else payload.tobytes())
            continue
        for text in payload:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.digest()
