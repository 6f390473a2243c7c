"""What a source says of a model: which versions there are, and how its owner wants them served."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from shoal_server.options import AnswerOptions, BatchingOptions, RuntimeOptions
from shoal_server.tensors.datatype import DataType


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions present are served: the ``latest`` n (>= 1), the ``specific`` ones, or all (both empty)."""

    latest: int = 1
    specific: tuple[int, ...] = ()

    def select(self, present: Mapping[int, Path]) -> tuple[int, ...]:
        """Return the versions to serve, ascending; specific ones that are not present are left out."""
        versions = sorted(present)
        if self.specific:
            return tuple(version for version in versions if version in self.specific)
        return tuple(versions[-self.latest :]) if self.latest else tuple(versions)


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """An input or output as the owner declares it, without the batch dimension if the model has one.

    The file is the truth; a declaration that contradicts it fails the load. ``dims`` are what callers send and get, -1
    for any size. ``whole`` says that they include the first dimension, batch or not. ``reshape`` is what the model has
    in place of ``dims`` (as many elements, in the same order), None where that is the same.
    """

    name: str
    datatype: DataType | None
    dims: tuple[int, ...]
    optional: bool = False
    labels: tuple[str, ...] = ()
    whole: bool = False
    reshape: tuple[int, ...] | None = None


class Fill(Enum):
    """Where a warm-up tensor's elements come from."""

    ZERO = "zero"
    RANDOM = "random"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class WarmupTensor:
    """One input of a warm-up request: ``dims`` without the batch dimension.

    For ``Fill.FILE``, ``file`` holds (at least) the raw contents of one row, which every row of the request repeats.
    """

    datatype: DataType
    dims: tuple[int, ...]
    fill: Fill
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Warmup:
    """A request that runs ``count`` (>= 1) times before a version is ready.

    It has ``rows`` rows; 0 where the model has no batch dimension.
    """

    name: str
    rows: int
    inputs: Mapping[str, WarmupTensor]
    count: int = 1


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """One model as its source describes it.

    ``versions`` maps each complete version to its model file, ``refused`` each other version that is present to the
    reason why it cannot be served (or not yet). ``inputs`` and ``outputs`` are empty where the owner declares none.
    ``config`` is the owner's Triton configuration, serialised, or empty. ``warnings`` are sentences for the operator.
    """

    name: str
    versions: Mapping[int, Path]
    policy: VersionPolicy = VersionPolicy()
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    answers: AnswerOptions = field(default_factory=AnswerOptions)
    inputs: tuple[DeclaredTensor, ...] = ()
    outputs: tuple[DeclaredTensor, ...] = ()
    warmups: tuple[Warmup, ...] = ()
    config: bytes = b""
    warnings: tuple[str, ...] = ()
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[int, ...]:
        """The versions to serve, ascending."""
        return self.policy.select(self.versions)

    @property
    def missing(self) -> tuple[str, ...]:
        """Why versions that the policy asks for cannot even be tried: a sentence for each."""
        asked = self.policy.specific or self.policy.select({**self.versions, **dict.fromkeys(self.refused, Path())})
        return tuple(
            f"version {version} of model '{self.name}' is not served: {self.refused.get(version, 'it is not there')}"
            for version in asked
            if version not in self.versions
        )

    def same_serving(self, other: "ModelDefinition", version: int) -> bool:
        """Whether the other definition asks for this version to be served from the same file in the same way."""
        return self.only(version) == other.only(version)

    def only(self, version: int) -> "ModelDefinition":
        """Return what decides how one version is served."""
        only = {version: self.versions[version]}
        return replace(self, versions=only, policy=VersionPolicy(), warnings=(), refused={})
