"""What happens in one simulation: pure data, to be read, cut down and repeated."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import AdmissionOptions, AnswerOptions, BatchingOptions, CallerOptions, FairnessOptions
from shoal_testing.fake_model import Kind, Poison

HORIZON_S = 4.0  # requests come and models change within these seconds
BIAS = 7  # what is sent as the optional input
LIMIT_S = 3.0  # of an execution; more than the longest honest one


@dataclass(frozen=True)
class ModelPlan:
    """One model: what it is, how it is served and how fast it runs."""

    name: str
    kind: Kind
    answers: AnswerOptions
    versions: tuple[int, ...]
    batching: BatchingOptions
    instances: int
    run_s: float
    row_s: float
    obeys: bool
    """Whether it ends early where it is interrupted."""
    latest: int
    """How many of its versions its owner wants served; 0 for all."""


@dataclass(frozen=True)
class Arrival:
    """One request. Those of one instant come in one list."""

    at_s: float
    number: int
    model: str
    version: str
    rows: int
    width: int
    size_bytes: int
    within_s: float | None
    timeout_s: float | None
    cancel_after_s: float | None
    poison: Poison | None
    bias: bool
    malformed: bool
    breaks_encoder: bool
    priority: int
    caller: str


class Change(Enum):
    """What an operator does to a model."""

    LOAD = auto()
    UNLOAD = auto()
    TOUCH = auto()  # the files are written anew
    PUBLISH = auto()  # one more version
    RETIRE = auto()  # the lowest version is deleted
    ROLL_BACK = auto()  # the highest version is deleted
    GARBLE = auto()  # the highest version is half written
    TUNE = auto()  # other options
    SPOIL = auto()  # loads fail from now on
    CRASH = auto()  # loads raise what nobody expects
    STALL = auto()  # loads never end
    MEND = auto()
    SWAP = auto()  # from here on: operations on one version
    LOAD_VERSION = auto()
    UNLOAD_VERSION = auto()
    ROLL_BACK_SWAP = auto()
    LABEL = auto()
    FILL_DISK = auto()  # nothing can be recorded from now on
    EMPTY_DISK = auto()


OPERATIONS = {Change.SWAP, Change.LOAD_VERSION, Change.UNLOAD_VERSION, Change.ROLL_BACK_SWAP, Change.LABEL}


@dataclass(frozen=True)
class Operation:
    """A change, after which the model is loaded anew unless it is a change of what serves; its caller may leave.

    ``version``, ``keep_warm_s``, ``dry_run`` and ``force`` are those of operations on one version.
    """

    at_s: float
    model: str
    change: Change
    cancel_after_s: float | None
    version: int
    keep_warm_s: float
    dry_run: bool
    force: bool


@dataclass(frozen=True)
class Scenario:
    """All of one simulation. The ``_gap_s`` are upper bounds of random delays."""

    seed: int
    models: tuple[ModelPlan, ...]
    arrivals: tuple[Arrival, ...]
    operations: tuple[Operation, ...]
    slots: int
    admission: AdmissionOptions
    start_gap_s: float
    done_gap_s: float
    answer_gap_s: float
    load_gap_s: float
    write_gap_s: float
    state_required: bool
    tick_s: float
    shutdown_at_s: float
    callers: CallerOptions | None
    quick_share: float
    """Of the batches that might be answered at once, those that are known to be quick."""
    slow_s: float = field(default=2 * LIMIT_S)

    @property
    def fairness(self) -> FairnessOptions | None:
        """Weights between callers, None where they are not told apart."""
        return self.callers.fairness if self.callers else None


def changed(described: ModelDefinition, change: Change) -> ModelDefinition:
    """Return the description after a change that shows in it."""
    versions = dict(described.versions)
    lowest, highest = min(versions), max(versions)
    match change:
        case Change.TUNE:
            batching = replace(described.batching, delay_s=described.batching.delay_s + 0.001)
            return replace(described, batching=batching)
        case Change.PUBLISH:
            versions[highest + 1] = versions[highest]
        case Change.RETIRE if lowest != highest:
            del versions[lowest]
        case Change.ROLL_BACK if lowest != highest:
            del versions[highest]
        case Change.GARBLE if lowest != highest:
            del versions[highest]
            return replace(described, versions=versions, refused={highest: "half written"})
    return replace(described, versions=versions)
