"""Which operations were asked for under which key."""

from collections import OrderedDict
from typing import Final

from shoal_server.errors import InvalidRequest
from shoal_server.lifecycle.progress import Operation
from shoal_server.lifecycle.requests import Request

MOST_KEYS: Final = 1024


class Keys:
    """The operations of the last keys used."""

    def __init__(self) -> None:
        self._operations: OrderedDict[str, Operation] = OrderedDict()

    def find(self, request: Request) -> Operation | None:
        """Return the operation that the same request under the same key has begun.

        Raises:
            InvalidRequest: the key was used for another request.
        """
        operation = self._operations.get(request.key) if request.key else None
        if operation is None:
            return None
        if operation.request != request:
            raise InvalidRequest(f"the idempotency key {request.key!r} was used for another request")
        self._operations.move_to_end(request.key)
        return operation

    def remember(self, operation: Operation) -> None:
        """Take note of an operation that has begun."""
        if operation.request.key:
            self._operations[operation.request.key] = operation
            if len(self._operations) > MOST_KEYS:
                self._operations.popitem(last=False)
