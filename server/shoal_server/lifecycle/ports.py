"""What the lifecycle needs from outside: models described, loaded, run, and the engine that serves them."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.desired import Desired
from shoal_server.tensors.batch import Array
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import Signature

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """Work on a thread. Awaited, it returns what the work returns, or raises what it raises."""

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the end."""
        ...

    def give_up(self, error: Exception) -> None:
        """Raise ``error`` where the job is awaited, now; its thread is replaced, its result dropped. On the loop."""
        ...


class Workers(Protocol):
    """A bounded number of threads for what blocks."""

    def call(self, work: Callable[[], T]) -> Job[T]:
        """Do ``work`` on one of the threads. On the loop."""
        ...

    def post(self, deliver: Callable[[T], None], message: T) -> None:
        """Call ``deliver(message)`` on the loop, before any job that ends later; from one of the threads."""
        ...


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a version, as it was when it was loaded: ``name`` relative to the model file's folder."""

    name: str
    sha256: str
    size_bytes: int


class RunControl(Protocol):
    """The executor's hold on one run: lets it be interrupted from another thread."""

    def on_stop(self, interrupt: "Interrupt") -> None:
        """Take what ends the run early; called by the model before it starts computing."""
        ...


class Interrupt(Protocol):
    """Asks a run to end soon; callable from any thread, any number of times."""

    def __call__(self) -> None:
        """Ask."""
        ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a version is best run, as measuring it showed or its owner wants it.

    ``slots`` runs at once fill the processor, each with ``intra_op_threads``, both >= 1. Batches of up to ``rows`` rows
    pay, 0 where that was not found out; where callers wait anyway, those of up to ``pressed_rows``, which is no less.
    An incomplete one is worth waiting for during ``delay_s``. ``reason`` has the figures that led to it: a sentence for
    the operator.
    """

    slots: int
    intra_op_threads: int
    rows: int = 0
    pressed_rows: int = 0
    delay_s: float = 0.0
    reason: str = ""


class LoadedModel(Protocol):
    """One version in memory, warmed up. ``run`` may be called from several threads at once."""

    @property
    def signature(self) -> Signature:
        """Inputs, outputs, and whether rows are independent."""
        ...

    @property
    def batching_reason(self) -> str:
        """Why the model is batched or is not: a sentence for the operator."""
        ...

    @property
    def invariance(self) -> InvarianceFinding:
        """Whether rows of its batches are bit for bit what they are alone."""
        ...

    @property
    def tuning(self) -> Tuning:
        """How it is best run."""
        ...

    @property
    def tuning_reason(self) -> str:
        """Why it is run like that: a sentence for the operator."""
        ...

    @property
    def files(self) -> Sequence[FileDigest]:
        """What it was loaded from, the model file first."""
        ...

    @property
    def timings(self) -> Sequence[tuple[int, float]]:
        """Rows (where lengths vary, padded cells) and seconds of runs during the warm-up, ascending.

        Empty where nothing could be measured.
        """
        ...

    @property
    def steady(self) -> bool:
        """Whether a run takes as long as those before it of the same shapes, whatever the values are."""
        ...

    def run(self, inputs: Sequence[Array | None], control: RunControl | None) -> Sequence[Array]:
        """Compute the outputs, in the signature's order, from the inputs in the signature's order.

        Raises:
            ExecutionFailed: the runtime refused the input or failed.
        """
        ...

    def is_current(self) -> bool:
        """Whether the files that it was loaded from are still the same. Blocking."""
        ...

    def close(self) -> None:
        """Give the memory back; no run is under way and none follows."""
        ...


class Loader(Protocol):
    """Turns a file into a loaded model. Blocking; called on a thread of its own, several at once."""

    def load(self, definition: ModelDefinition, version: int, warming: Callable[[], None]) -> LoadedModel:
        """Load, find out about and warm up one version; ``warming`` is called, once, before the last of these.

        Raises:
            LoadFailed: the version cannot be served; the text says why.
        """
        ...


class Source(Protocol):
    """Where models come from. Blocking; called on a thread of its own."""

    def scan(self) -> Mapping[str, ModelDefinition | LoadFailed]:
        """Return every model that the source has, or why one cannot be described.

        Raises:
            LoadFailed: the source itself cannot be read.
        """
        ...

    def describe(self, model: str) -> ModelDefinition:
        """Return one model as it is now.

        Raises:
            NotFound: the source has no such model.
            LoadFailed: its description cannot be understood.
        """
        ...


class StateStore(Protocol):
    """Keeps what operators want beyond the end of the process. Blocking; called on a thread, one call at a time."""

    @property
    def required(self) -> bool:
        """Whether a change that cannot be recorded is not to be made."""
        ...

    def read(self) -> Mapping[str, Desired]:
        """Return what was written last, by model; nothing where nothing ever was.

        Raises:
            LoadFailed: it cannot be read or understood; the text says what to do.
        """
        ...

    def prepare(self) -> None:
        """Look whether ``write`` would work, now.

        Raises:
            PreconditionFailed: it would not; the text says why.
        """
        ...

    def write(self, desired: Mapping[str, Desired]) -> None:
        """Put this in the place of what was written last; whatever happens, one of both is read afterwards.

        Raises:
            PreconditionFailed: it cannot be written, and what was written last stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class ResidentMemory:
    """Resident memory of the process in bytes, and the most it had since ``Resident.begin``; 0 where unknown."""

    now_bytes: int = 0
    peak_bytes: int = 0


class Resident(Protocol):
    """Tells how much memory the process has. Blocking for some microseconds; called on a thread."""

    def begin(self) -> ResidentMemory:
        """Return what there is, and count the peak from here."""
        ...

    def look(self) -> ResidentMemory:
        """Return what there is, and the peak."""
        ...
