"""What the lifecycle needs from outside: models described, loaded, run, and the engine that serves them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.tensors.batch import Array
from shoal_server.tensors.spec import Signature


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
    def instances(self) -> int:
        """How many runs at once fill the processor, >= 1."""
        ...

    def run(self, inputs: Sequence[Array | None], control: RunControl) -> Sequence[Array]:
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

    def load(self, definition: ModelDefinition, version: int) -> LoadedModel:
        """Load, find out about and warm up one version.

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
