"""Stand-ins for what surrounds the core: the source of models, their loader, callers, and whoever hears of events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shoal_server.batching.ticket import Outputs
from shoal_server.errors import LoadFailed, NotFound, PreconditionFailed, ShoalError
from shoal_server.events import Event
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.ports import ResidentMemory
from shoal_server.options import AnswerOptions, BatchingOptions, RuntimeOptions
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Tensor
from shoal_server.tensors.text import decode_text, encode_text
from shoal_testing.fake_model import FakeModel


def definition(
    name: str = "m",
    *versions: int,
    batching: BatchingOptions | None = None,
    runtime: RuntimeOptions | None = None,
    policy: VersionPolicy | None = None,
    answers: AnswerOptions | None = None,
) -> ModelDefinition:
    """Describe a model; all of its versions are wanted unless a policy says otherwise."""
    return ModelDefinition(
        name,
        {version: Path(name, str(version), "model.onnx") for version in versions or (1,)},
        policy=policy or VersionPolicy(latest=0),
        batching=batching or BatchingOptions(),
        runtime=runtime or RuntimeOptions(),
        answers=answers or AnswerOptions(),
    )


class FakeSource:
    """A ``Source`` whose models are a dictionary that a test may change at any time."""

    def __init__(self, *definitions: ModelDefinition) -> None:
        self.models: dict[str, ModelDefinition | LoadFailed] = {item.name: item for item in definitions}

    def scan(self) -> Mapping[str, ModelDefinition | LoadFailed]:
        return dict(self.models)

    def describe(self, model: str) -> ModelDefinition:
        found = self.models.get(model)
        if found is None:
            raise NotFound(f"the source has no model '{model}'")
        if isinstance(found, LoadFailed):
            raise found
        return found


class FakeLoader:
    """A ``Loader`` that asks ``make`` for each load; ``make`` may raise, and pause if it is on a virtual thread."""

    def __init__(self, make: Callable[[ModelDefinition, int], FakeModel] | None = None) -> None:
        self.loaded: list[FakeModel] = []
        self._make = make or (lambda _definition, _version: FakeModel())

    def load(self, definition: ModelDefinition, version: int, warming: Callable[[], None]) -> FakeModel:
        model = self._make(definition, version)
        warming()
        self.warm_up(definition, version)
        self.loaded.append(model)
        return model

    @staticmethod
    def warm_up(_definition: ModelDefinition, _version: int) -> None:
        """Run the owner's requests; a test may replace it."""


class FakeStore:
    """A ``StateStore`` in memory. ``trouble`` is what each write fails with; ``before_write`` may pause."""

    def __init__(self, desired: Mapping[str, Desired] | None = None, *, required: bool = False) -> None:
        self.desired: Mapping[str, Desired] = desired or {}
        self.required = required
        self.trouble = ""
        self.trouble_comes_late = False
        """Whether ``prepare`` does not notice it."""
        self.before_write: Callable[[], None] = lambda: None
        self.writes = 0

    def read(self) -> Mapping[str, Desired]:
        return self.desired

    def prepare(self) -> None:
        if self.trouble and not self.trouble_comes_late:
            raise PreconditionFailed(self.trouble)

    def write(self, desired: Mapping[str, Desired]) -> None:
        self.before_write()
        if self.trouble:
            raise PreconditionFailed(self.trouble)
        self.writes += 1
        self.desired = desired


class FakeResident:
    """A ``Resident`` whose figures a test sets."""

    def __init__(self) -> None:
        self.now = ResidentMemory()

    def begin(self) -> ResidentMemory:
        return self.now

    def look(self) -> ResidentMemory:
        return self.now


class RecordingObserver:
    """Remembers events in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Answered:
    """What came back: an error, or rows of outputs, and when."""

    at_s: float
    error: ShoalError | None = None
    outputs: Outputs | None = None
    start: int = 0
    rows: int = 0

    def array(self, output: int = 0) -> Array:
        """Decode one output as a caller would."""
        assert self.outputs is not None, self.error
        block = self.outputs.blocks[output]
        shape, raw = block.shape(self.rows), bytes(block.raw(self.start, self.rows))
        if block.datatype is DataType.BYTES:
            texts = np.empty(int(np.prod(shape)), object)
            texts[:] = decode_text(block.name, raw, texts.size)
            return texts.reshape(shape)
        return np.frombuffer(raw, block.datatype.dtype).reshape(shape)


@dataclass
class RecordingResponder:
    """A ``Responder`` that counts its answers.

    ``before`` is called on the answering thread before either answer, ``encode`` before results; they may pause or
    raise.
    """

    now: Callable[[], float] = lambda: 0.0
    before: Callable[[], None] = lambda: None
    encode: Callable[[], None] = lambda: None
    answers: list[Answered] = field(default_factory=list)

    @property
    def answer(self) -> Answered:
        """The one answer."""
        assert len(self.answers) == 1, f"{len(self.answers)} answers"
        return self.answers[0]

    @property
    def error(self) -> ShoalError:
        """The error that is the one answer."""
        error = self.answer.error
        assert error is not None, "answered with results"
        return error

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        self.before()
        self.encode()
        self.answers.append(Answered(self.now(), outputs=outputs, start=start, rows=rows))

    def fail(self, error: ShoalError) -> None:
        self.before()
        self.answers.append(Answered(self.now(), error=error))


def tensor(name: str, array: Array) -> Tensor:
    """Return an array in the form in which a caller sends it."""
    if array.dtype == object:
        return Tensor(name, "BYTES", array.shape, b"".join(encode_text(array.ravel().tolist())))
    return Tensor(name, _NAMES[array.dtype], array.shape, array.tobytes())


_NAMES = {datatype.dtype: datatype.value for datatype in DataType if datatype is not DataType.BF16}
