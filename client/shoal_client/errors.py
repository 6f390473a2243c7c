"""What can go wrong, told apart by what a caller can do about it.

::

    ClientError
    ├── InvalidInput            an argument cannot be sent; nothing was (also a ValueError)
    ├── ConfigurationError      an option of the client is wrong or its files cannot be read (also a ValueError)
    ├── ClientClosed            the client is closed, or was never entered (also a RuntimeError)
    ├── ProtocolError           the server answered with something that is not of the protocol
    └── CallError               a call ended with another status than OK
        ├── InvalidRequest      the request is wrong; sending it again will not help
        ├── NotFound            no such model, version or label
        ├── Unsupported         the server does not offer this method or extension
        ├── Overloaded          a bound of the server is reached; ``retry_after_s`` says when to come again
        ├── Unavailable         nobody answers, not ready, or draining; safe to send elsewhere
        ├── DeadlineExceeded    the time given to the call has passed
        ├── Cancelled           the server or the network cancelled the call
        ├── Unauthenticated     the server wants to know who asks
        ├── PermissionDenied    who asks may not do this
        ├── PreconditionFailed  what was expected of the model does not hold
        ├── Conflict            another change of the same model is under way
        └── ServerError         the model or the server failed

``str()`` of a ``CallError`` says status, model, target and the server's own words. What the RPC library raised is
``CallError.cause``, for those who ask.
"""

from typing import Any, Final


class ClientError(Exception):
    """Root of the tree."""


class InvalidInput(ClientError, ValueError):
    """An argument cannot be sent as it is; no call was made."""


class ConfigurationError(ClientError, ValueError):
    """An option of the client is out of its range, or what it names cannot be used."""


class ClientClosed(ClientError, RuntimeError):
    """The client is not open: use it inside ``with`` (``async with`` for an ``AsyncClient``)."""


class ProtocolError(ClientError):
    """The server answered with something that the Open Inference Protocol does not know."""


class CallError(ClientError):
    """A call ended with another status than OK.

    Attributes:
        status: the name of the gRPC status, for example ``"UNAVAILABLE"``.
        details: the server's words; never empty.
        model: the model that was asked for; empty where the call names none.
        target: who was asked last, as in the client's ``targets``.
        attempts: how often the request was sent; 0 if it never left.
        retry_after_s: the server's hint (``grpc-retry-pushback-ms``) in seconds: when the same request may pass. None
            without a hint; ``never_retry`` is True where the hint says that it never will.
        cause: what the RPC library raised; None where the client itself gave up.
    """

    status: str = "UNKNOWN"

    def __init__(  # noqa: PLR0913 - the parts of one sentence
        self,
        details: str,
        *,
        status: str | None = None,
        model: str = "",
        target: str = "",
        attempts: int = 0,
        retry_after_s: float | None = None,
        never_retry: bool = False,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(details)
        self.status = status or type(self).status
        self.details = details
        self.model = model
        self.target = target
        self.attempts = attempts
        self.retry_after_s = retry_after_s
        self.never_retry = never_retry
        self.cause = cause

    def __str__(self) -> str:
        where = " ".join(
            part for part in (self.model and f"model '{self.model}'", self.target and f"at {self.target}") if part
        )
        hint = ""
        if self.retry_after_s is not None:
            hint = f"; the server asks to come again in {self.retry_after_s:g} s"
        elif self.never_retry:
            hint = "; the server asks not to come again"
        sent = f" (sent {self.attempts} times)" if self.attempts > 1 else ""
        return f"{self.status}{': ' if where else ''}{where}: {self.details}{hint}{sent}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes the cause stays behind: what an RPC library raises can rarely be pickled.
        return type(self), (self.details,), {**self.__dict__, "cause": None}


class InvalidRequest(CallError):
    """The server refused the request as wrong; its words name the tensor, what was wanted and what came."""

    status = "INVALID_ARGUMENT"


class NotFound(CallError):
    """There is no such model, version or label."""

    status = "NOT_FOUND"


class Unsupported(CallError):
    """The server does not offer this method or extension; the Open Inference Protocol does not demand it."""

    status = "UNIMPLEMENTED"


class Overloaded(CallError):
    """A bound in requests, rows or bytes is reached; the same request may pass later."""

    status = "RESOURCE_EXHAUSTED"


class Unavailable(CallError):
    """Nobody answers at the target, or it is not ready or draining; the request may be sent elsewhere."""

    status = "UNAVAILABLE"


class DeadlineExceeded(CallError):
    """The call's ``timeout_s`` has passed, attempts and waits between them included."""

    status = "DEADLINE_EXCEEDED"


class Cancelled(CallError):
    """The call was cancelled, and not by its caller (that one gets ``asyncio.CancelledError``)."""

    status = "CANCELLED"


class Unauthenticated(CallError):
    """The server wants to know who asks: a client certificate, or credentials in the metadata."""

    status = "UNAUTHENTICATED"


class PermissionDenied(CallError):
    """The server knows who asks, and does not allow it."""

    status = "PERMISSION_DENIED"


class PreconditionFailed(CallError):
    """What the caller expected of the model does not hold; look, then ask again."""

    status = "FAILED_PRECONDITION"


class Conflict(CallError):
    """Another change of the same model is under way, or was made first."""

    status = "ABORTED"


class ServerError(CallError):
    """The model failed on this request, or the server has a fault."""

    status = "INTERNAL"


_CLASSES: Final[dict[str, type[CallError]]] = {
    **{
        kind.status: kind
        for kind in (
            InvalidRequest,
            NotFound,
            Unsupported,
            Overloaded,
            Unavailable,
            DeadlineExceeded,
            Cancelled,
            Unauthenticated,
            PermissionDenied,
            PreconditionFailed,
            Conflict,
            ServerError,
        )
    },
    "OUT_OF_RANGE": InvalidRequest,
    "ALREADY_EXISTS": Conflict,
    "UNKNOWN": ServerError,
    "DATA_LOSS": ServerError,
}


def class_of(status: str) -> type[CallError]:
    """Return the class of a gRPC status by its name; ``CallError`` itself for one that gRPC does not know yet."""
    return _CLASSES.get(status, CallError)
