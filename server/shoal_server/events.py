"""What the core tells whoever listens: facts, after they happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Traced(Protocol):
    """A request that somebody records. The core carries it and knows no more of it.

    ``dispatched`` is set when the request leaves the line for a batch: a ``BatchEnded`` that names it will follow. It
    is taken back where the batch answered nobody and the request goes into the line after all.
    """

    dispatched: bool


@dataclass(frozen=True, slots=True)
class VersionChanged:
    """A version went from one state to another; ``reason`` says why where there is something to say."""

    model: str
    version: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class VersionBroken:
    """Loading or closing a version met a bug of ours or of a library: ``problem`` is for the log only."""

    model: str
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class CurrentChosen:
    """Calls to a model without a version reach ``version`` from now on, 0 for none."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class ModelRemarked:
    """A model's description holds something that its owner should know and that keeps nothing from being served."""

    model: str
    warning: str


@dataclass(frozen=True, slots=True)
class ExecutionBroken:
    """A batch met a bug of ours or of a library: ``problem`` is for the log only."""

    model: str
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class BatchingStopped:
    """A model that looked batchable gave outputs that cannot be split; its requests run one by one from now on."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class ExecutionAbandoned:
    """A batch of ``members`` requests ran past the execution limit; its thread was given up and replaced."""

    model: str
    version: int
    members: int
    limit_s: float


class BatchRun(NamedTuple):
    """One call of the model: when it began, by ``time.perf_counter_ns``, and nanoseconds per stage.

    ``members`` are those of its requests that are traced.
    """

    rows: int
    began_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int
    members: Sequence[Traced]


class BatchEnded(NamedTuple):
    """A batch with traced ``members`` is over; told only of such batches. Times are monotonic seconds.

    ``arrived_s`` says when each of the members came, ``reason`` why the batch took no more; ``runs`` are the calls of
    the model that answered somebody, several where it was run in parts.
    """

    model: str
    version: int
    requests: int
    rows: int
    reason: str
    dispatched_s: float
    ended_s: float
    broken: bool
    members: Sequence[Traced]
    arrived_s: Sequence[float]
    runs: Sequence[BatchRun]


@dataclass(frozen=True, slots=True)
class MemoryKept:
    """A large version was unloaded, and much of the ``size_bytes`` of its files has not come back to the system."""

    model: str
    version: int
    size_bytes: int
    returned_bytes: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step of an operation: seconds from the operation's begin, and how long it took."""

    kind: str
    version: int
    began_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """An operator's change of a model is over: ``operation`` as in "swap", ``version`` 0 where it is about none.

    ``began_s`` is monotonic. ``outcome`` is "changed", "unchanged", "tried" (a dry run) or "failed", of which
    ``problem`` says why.
    """

    operation: str
    model: str
    version: int
    outcome: str
    problem: str
    began_s: float
    seconds: float
    steps: tuple[StepTaken, ...]


@dataclass(frozen=True, slots=True)
class CertificateRenewed:
    """The files held a new certificate or CA, which all handshakes use from now on; ``about`` says whose it is."""

    about: str


@dataclass(frozen=True, slots=True)
class CertificateRefused:
    """The files hold what cannot be used; the certificate in use stays. ``problem`` names the file."""

    problem: str


@dataclass(frozen=True, slots=True)
class CertificateExpiring:
    """A certificate in use is about to expire; ``left_s`` is at most 0 where it has expired."""

    what: str
    left_s: float


@dataclass(frozen=True, slots=True)
class AdminDecided:
    """A call that changes what is served was let in or refused; ``reason`` says why where it was refused."""

    method: str
    identity: str
    peer: str
    allowed: bool
    reason: str


Event = (
    VersionChanged
    | VersionBroken
    | CurrentChosen
    | ModelRemarked
    | ExecutionBroken
    | BatchingStopped
    | ExecutionAbandoned
    | BatchEnded
    | MemoryKept
    | OperationEnded
    | CertificateRenewed
    | CertificateRefused
    | CertificateExpiring
    | AdminDecided
)


class Observer(Protocol):
    """Hears of events. Called on the loop; must not block and must not raise."""

    def observe(self, event: Event) -> None:
        """Take note."""
        ...
