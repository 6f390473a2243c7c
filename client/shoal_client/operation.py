"""Changes of models: what they tell on their way, and their results, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal.admin import admin_pb2 as pb

_LATEST_UNKNOWN: Final = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an operation.

    Attributes:
        kind: "DESCRIBE", "LOAD", "WARM_UP", "RECORD", "PUBLISH", "DRAIN" or "UNLOAD".
        version: which version it is done to; 0 where it is about the model.
        began_s: from the operation's begin to this step's, in seconds.
        seconds: how long it took; None: it has begun and not ended.
    """

    kind: str
    version: int
    began_s: float
    seconds: float | None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.seconds is not None


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file of the version that was loaded."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What an operation has done.

    Attributes:
        model: the model.
        previous_version: what answered calls without a version before; 0 for none.
        current_version: what does now.
        changed: whether anything was; False for a dry run, and where all was as wanted.
        steps: what was done, in order.
        seconds: how long it took in all.
        files: the files of the version that was loaded.
        memory_before_bytes: the server's resident memory before; 0 where it cannot be known.
        memory_peak_bytes: the most of it meanwhile.
        memory_after_bytes: the same when it was done.
        kept_warm_until: until when the version that was replaced stays loaded, in Unix time; 0 where it does not.
        recorded: whether a restarted server would serve the same.
        remarks: why it would not, and all else that an operator should know.
    """

    model: str
    previous_version: int
    current_version: int
    changed: bool
    steps: tuple[Step, ...]
    seconds: float
    files: tuple[FileDigest, ...]
    memory_before_bytes: int
    memory_peak_bytes: int
    memory_after_bytes: int
    kept_warm_until: float
    recorded: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What a label stood for before (0 for nothing), and whether that was changed and would last over a restart."""

    previous_version: int
    changed: bool
    recorded: bool


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version of a model.

    Attributes:
        version: its number.
        state: "QUEUED", "LOADING", "WARMING_UP", "READY", "DRAINING", "UNLOADING", "UNLOADED" or "FAILED".
        reason: why, if not by wish.
        digest: SHA-256 of the model file; empty until it is loaded.
        requests: requests under way.
        kept_warm_until: until when it stays loaded after a swap, in Unix time; 0 where it is not kept so.
    """

    version: int
    state: str
    reason: str
    digest: str
    requests: int
    kept_warm_until: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model: the version that answers calls without one (0: none), its versions, its labels.

    ``problem`` says why it has no versions, ``operation`` what is under way; both are empty if there is nothing to say.
    """

    name: str
    current_version: int
    versions: tuple[VersionStatus, ...]
    labels: Mapping[str, int]
    problem: str
    operation: str


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """A model as it is now. ``caught_up``: all were told as they were when the watch began (model may be None then)."""

    model: ModelStatus | None
    caught_up: bool


def step_of(message: pb.Step) -> Step:
    """Return the message's content."""
    seconds = message.seconds if message.HasField("seconds") else None
    return Step(_name(pb.Step.Kind, message.kind), message.version, message.began_s, seconds)


def result_of(message: pb.OperationResult) -> OperationResult:
    """Return the message's content."""
    return OperationResult(
        message.model,
        message.previous_version,
        message.current_version,
        message.changed,
        tuple([step_of(step) for step in message.steps]),
        message.seconds,
        tuple([FileDigest(file.name, file.sha256, file.size_bytes) for file in message.files]),
        message.memory.before_bytes,
        message.memory.peak_bytes,
        message.memory.after_bytes,
        message.kept_warm_until,
        message.recorded,
        tuple(message.remarks),
    )


def model_of(message: pb.Model) -> ModelStatus:
    """Return the message's content."""
    return ModelStatus(
        message.name,
        message.current_version,
        tuple(
            [
                VersionStatus(
                    version.version,
                    _name(pb.VersionState, version.state),
                    version.reason,
                    version.digest,
                    version.requests,
                    version.kept_warm_until,
                )
                for version in message.versions
            ]
        ),
        dict(message.labels),
        message.problem,
        message.operation,
    )


def event_of(message: pb.ModelEvent) -> ModelEvent:
    """Return the message's content."""
    return ModelEvent(model_of(message.model) if message.HasField("model") else None, message.caught_up)


def _name(kind: "type[pb.VersionState | pb.Step.Kind]", number: int) -> str:
    try:
        return str(kind.Name(number))  # type: ignore[arg-type]  # any number may come from a newer server
    except ValueError:
        return f"{_LATEST_UNKNOWN}_{number}"
