"""What can go wrong, told apart by who can mend it.

::

    ShoalError
    ├── InvalidRequest          the caller's message is wrong; sending it again will not help
    ├── NotFound                no such model or version
    ├── Unsupported             a part of the protocol that this server does not offer
    ├── Overloaded              a bound is reached; later, the same request may pass
    ├── Unavailable             not ready, draining or withdrawn; safe to send elsewhere
    ├── DeadlineExceeded        the caller's deadline passed before the answer, or will
    ├── Cancelled               the caller left
    ├── Unauthenticated         the caller has not shown who it is, and must
    ├── PermissionDenied        who the caller is, it may not do this
    ├── PreconditionFailed      what the operator expected of a model does not hold; look, then ask again
    ├── Conflict                another change of the same model is under way
    ├── ExecutionFailed         the model failed on this very request (its runtime said why)
    │   └── NotFinite           the model made NaN or infinity of numbers that are neither
    ├── InternalError           our own fault; the text is for the log, never for a caller
    └── LoadFailed              a model version cannot be served; names the file and the reason

The texts of all but ``InternalError`` are written for the caller: they name the model or tensor, what was wanted and
what came. No class knows a status code; ``rpc/errors.py`` is the one table from here to the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final


class Bound(Enum):
    """What there would be too much of."""

    REQUESTS = "requests"
    ROWS = "rows"
    BYTES = "bytes"
    DEADLINE = "deadline"  # time that those before take
    QUOTA = "quota"  # of the caller
    SHARE = "share"  # of the caller, where callers share


@dataclass(frozen=True, slots=True)
class Again:
    """What holds for requests like one that was refused.

    ``alike_s`` is for how long they would be refused, too; where the bound is the deadline, those with as much time.
    ``retry_after_s`` is when they may pass, for all of them together; ``counted`` is to be called with the number of
    those that were refused without being offered.
    """

    alike_s: float
    retry_after_s: float
    counted: Callable[[int], None]


class ShoalError(Exception):
    """Root of the tree; ``str()`` is a sentence for the one whom the subclass blames."""


class InvalidRequest(ShoalError):
    """The request contradicts the protocol or the model's signature."""


class NotFound(ShoalError):
    """The named model or version does not exist here."""


class Unsupported(ShoalError):
    """The request uses an extension that this server does not offer."""


class Overloaded(ShoalError):
    """A bound is reached: a configured one (requests, rows, bytes), or the time that the caller has.

    ``retry_after_s`` is when the same request may pass, None where that is not known, ``NEVER`` where it never will;
    ``late_s`` how much sooner it would have had to come. ``again`` is there where its like need not be offered.
    """

    NEVER: Final = inf

    def __init__(self, message: str, bound: Bound, *, retry_after_s: float | None = None, late_s: float = 0.0) -> None:
        super().__init__(message)
        self.bound = bound
        self.retry_after_s = retry_after_s
        self.late_s = late_s
        self.again: Again | None = None


class Unavailable(ShoalError):
    """The server or the version is not ready, draining or gone."""


class DeadlineExceeded(ShoalError):
    """The request's deadline passed while it waited, or would pass before the model could be done."""


class Cancelled(ShoalError):
    """The caller cancelled or its connection ended."""


class Unauthenticated(ShoalError):
    """The method asks for an identity and the connection has none."""


class PermissionDenied(ShoalError):
    """The identity is not among those that may call the method."""


class PreconditionFailed(ShoalError):
    """The state of a model is not what the request takes for granted."""


class Conflict(ShoalError):
    """Another change of the same model is under way."""


class ExecutionFailed(ShoalError):
    """The model's runtime refused or failed this request, run alone.

    ``caller_at_fault`` is true where the runtime blames the input's values (an index out of range, say).
    """

    def __init__(self, message: str, *, caller_at_fault: bool = False) -> None:
        super().__init__(message)
        self.caller_at_fault = caller_at_fault


class NotFinite(ExecutionFailed):
    """An output has NaN or infinity, and no input has; its owner does not want such answers to be given."""


class InternalError(ShoalError):
    """Only our own bug can cause it; callers read a fixed text."""


class LoadFailed(ShoalError):
    """A model version could not be read, understood, warmed up or published."""


class CannotListen(OSError):
    """An address cannot be bound; ``setting`` is the key that it comes from, such as ``telemetry.prometheus``."""

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting
