"""What can be set, as the core sees it: small frozen records, parsed and checked by ``config`` and ``sources``.

Every field says its unit and its range; the defaults serve without any configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

MOST_PRIORITY_LEVELS: Final = 64


class BatchingMode(Enum):
    """Who decides whether requests to a model are concatenated."""

    AUTO = "auto"  # the server probes the model and batches it where that changes no answer
    ALWAYS = "always"  # the owner vouches that rows are independent; the probe is skipped
    NEVER = "never"


class Generate(Enum):
    """What an input says of the lengths, so that the server can make it up where the caller does not send it."""

    MASK = "mask"  # 1 for each element that was sent, 0 for padding
    LENGTH = "length"  # one number for each row: its length


@dataclass(frozen=True, slots=True)
class VariableInput:
    """An input of a model with variable lengths.

    ``axis``: which of its dimensions is the length, >= 1; 0 for ``Generate.LENGTH``, which has none.
    ``pad``: what fills it up to the length of the longest in a batch.
    """

    axis: int
    pad: bool | int | float | str = 0
    generate: Generate | None = None


@dataclass(frozen=True, slots=True)
class LengthOptions:
    """How requests of different lengths share a batch.

    ``inputs`` by name; ``outputs`` the axis, >= 1, of those that are cut to their request's length, by name.
    ``max_length``: the longest that is taken, >= 1, or 0 for any.
    ``max_cells``: padded cells (rows times the longest length) per batch, >= 1, or 0 for as many as still pay; what
    exceeds it runs alone.
    ``edges``: lengths that the model runs at (others are padded to the next), ascending; empty for those that come.
    """

    inputs: Mapping[str, VariableInput]
    outputs: Mapping[str, int] = field(default_factory=dict)
    max_length: int = 0
    max_cells: int = 0
    edges: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How one model's requests form batches.

    ``max_rows``: rows per batch, >= 1; what ``rows_limit`` does not forbid but exceeds it runs alone.
    ``pressed_rows``: rows per batch while callers wait for long, > ``max_rows``, or 0 for no more than otherwise.
    ``pressed_after``: when that is: after so many batches in a row that left somebody waiting, >= 1.
    ``rows_limit``: rows per request, >= 1, or 0 for no limit; set where the owner declares a ``max_batch_size``.
    ``delay_s``: how long an incomplete batch may wait for more rows while a slot is free, >= 0; 0 is work-conserving.
    ``preferred_rows``: batch sizes worth dispatching before the delay is over, ascending.
    ``allowed_rows``: batch sizes that the model runs at (padded up to the next), ascending; empty means any.
    ``max_queued_requests`` / ``max_queued_rows`` / ``max_queued_bytes``: bounds of the waiting line, >= 1.
    ``default_timeout_s``: how long a request without a deadline may wait, > 0.
    ``queue_limit_s``: how long any request may wait, > 0, or 0 to leave it to its deadline.
    ``max_timeout_s``: how long a request may wait that says so itself (the ``timeout`` parameter), > 0; such a wish
    counts in place of the two above, and never beyond the caller's deadline.
    ``priority_levels``: how many levels of importance requests may have, 1 to 64 (1: all are alike).
    ``default_priority``: the level of a request that names none, 1 (first) to ``priority_levels``.
    ``aging_s``: by how much a request of one level goes before one of the next that came at the same time, >= 0.
    ``adaptive_limit``: whether requests inside are bounded by what keeps them from queueing for long, too.
    ``execution_limit_s``: when a running batch is given up and its thread replaced, > 0.
    ``tunes_rows`` and ``tunes_delay``: whether the server may form smaller batches than ``max_rows``, and wait longer
    than ``delay_s``, where it measures at load that this is better; not where the owner says what he wants.
    ``lengths``: how requests of different lengths share a batch; None where only equal shapes do.
    """

    mode: BatchingMode = BatchingMode.AUTO
    max_rows: int = 64
    pressed_rows: int = 0
    pressed_after: int = 32
    rows_limit: int = 0
    delay_s: float = 0.0
    preferred_rows: tuple[int, ...] = ()
    allowed_rows: tuple[int, ...] = ()
    max_queued_requests: int = 8192
    max_queued_rows: int = 1 << 20
    max_queued_bytes: int = 1 << 30
    default_timeout_s: float = 60.0
    queue_limit_s: float = 0.0
    max_timeout_s: float = 600.0
    priority_levels: int = 1
    default_priority: int = 1
    aging_s: float = 0.1
    adaptive_limit: bool = False
    execution_limit_s: float = 60.0
    lengths: LengthOptions | None = None
    tunes_rows: bool = True
    tunes_delay: bool = True

    def tuned(self, rows: int, pressed_rows: int, delay_s: float) -> "BatchingOptions":
        """Return the options with what was measured to be best where the owner left it open; ``rows`` 0 for no finding.

        Sizes that the owner has named stay what they are.
        """
        named = self.allowed_rows or self.preferred_rows or self.lengths  # of which the cells are bounded instead
        tunes = self.tunes_rows and rows and not named
        return replace(
            self,
            max_rows=min(rows, self.max_rows) if tunes else self.max_rows,
            pressed_rows=min(pressed_rows, self.max_rows) if tunes else self.pressed_rows,
            delay_s=max(delay_s, self.delay_s) if self.tunes_delay else self.delay_s,
        )

    def at_one_size(self) -> "BatchingOptions":
        """Return the same with all batches padded to the largest."""
        return replace(self, allowed_rows=(self.padded(self.max_rows),))

    def padded(self, rows: int) -> int:
        """Return the allowed batch size that ``rows`` are padded to; ``rows`` where none is larger."""
        return next((allowed for allowed in self.allowed_rows if allowed >= rows), rows)


class BatchInvariance(Enum):
    """Whether answers are to be equal bit for bit, whatever other requests are in the batch."""

    NEVER = "never"
    AUTO = "auto"  # batches have one fixed shape, unless the server finds that the model needs none for that
    ALWAYS = "always"  # batches have one fixed shape


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What is promised of one model's answers, beyond that they are the model's.

    ``nan_guard``: refuse an answer with NaN or infinity where no input has any.
    ``batch_invariant``: whether answers do not depend on the batch in a single bit.
    ``share_in_flight``: whether requests of the same content that are under way at once are computed once.
    ``cache_bytes``: memory for answers that are given again, keys and all, >= 1, or 0 for none.
    ``cache_ttl_s``: for how long an answer is given again, > 0.
    """

    nan_guard: bool = False
    batch_invariant: BatchInvariance = BatchInvariance.NEVER
    share_in_flight: bool = False
    cache_bytes: int = 0
    cache_ttl_s: float = 60.0

    def needs_one_size(self, invariant: bool | None) -> bool:  # noqa: FBT001 - a finding: yes, no, or not known
        """Whether batches have to be of one fixed size, given what was found out about the model."""
        match self.batch_invariant:
            case BatchInvariance.NEVER:
                return False
            case BatchInvariance.AUTO:
                return not invariant
            case BatchInvariance.ALWAYS:
                return True


def halfway(levels: int) -> int:
    """Return the level in the middle, so that callers can be more and less important than those who say nothing."""
    return (levels + 1) // 2


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How one model runs.

    ``instances``: batches of the model that may run at once, >= 1, or 0 to use every slot of the pool.
    ``intra_op_threads``: ONNX Runtime threads within one operator, >= 1, or 0 to let the server choose.
    ``tuning_budget_s``: how long a load may measure what the owner left open, >= 0; 0 leaves it at the defaults.
    """

    instances: int = 0
    intra_op_threads: int = 0
    tuning_budget_s: float = 2.0


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """Bounds of all that the server holds at once, over all models: requests, rows and bytes, each >= 1."""

    max_requests: int = 16384
    max_rows: int = 1 << 21
    max_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class FairnessOptions:
    """How much each caller weighs against the others, > 0; those that are not named weigh 1."""

    weights: Mapping[str, float] = field(default_factory=dict)

    def weight_of(self, caller: str) -> float:
        """Return a caller's weight."""
        return self.weights.get(caller, 1.0)


@dataclass(frozen=True, slots=True)
class QuotaOptions:
    """What one caller may have, each >= 0, 0 for no limit.

    ``concurrency``: requests inside the server at once. ``requests_per_s`` and ``rows_per_s``: on average.
    ``burst_s``: for how many seconds' worth of the rates he may come at once, > 0.
    """

    concurrency: int = 0
    requests_per_s: float = 0.0
    rows_per_s: float = 0.0
    burst_s: float = 1.0


class CallerKey(Enum):
    """What tells callers apart."""

    IDENTITY = "identity"  # what TLS verified; the host's address of those who have shown nothing
    ADDRESS = "address"
    METADATA = "metadata"  # for callers behind a proxy that is trusted to say who they are


@dataclass(frozen=True, slots=True)
class CallerOptions:
    """How callers are told apart, and what each may have. ``quota`` is that of all who are not in ``quotas``."""

    by: CallerKey = CallerKey.IDENTITY
    metadata_key: str = ""
    fairness: FairnessOptions = field(default_factory=FairnessOptions)
    quotas: Mapping[str, QuotaOptions] = field(default_factory=dict)
    quota: QuotaOptions = field(default_factory=QuotaOptions)


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """Who is told what the server does.

    ``prometheus``: HOST:PORT where /metrics is served, empty for nowhere.
    ``metrics_endpoint`` / ``traces_endpoint``: URLs that OTLP is pushed to, whole, empty for nowhere.
    ``metric_interval_s`` / ``trace_interval_s``: how often, > 0.
    ``delta``: push what was counted since the last push, in place of since the start.
    ``trace_ratio``: share of calls, in [0, 1], that are traced where the caller's trace does not decide.
    ``trace_callers``: whether the caller's trace decides, where there is one.
    ``trace_queue``: calls and batches that may wait to be pushed, >= 1; what exceeds it is dropped and counted.
    """

    prometheus: str = ""
    metrics_endpoint: str = ""
    traces_endpoint: str = ""
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    metric_interval_s: float = 60.0
    delta: bool = False
    trace_ratio: float = 0.0
    trace_callers: bool = True
    trace_interval_s: float = 5.0
    trace_queue: int = 2048

    @property
    def traces(self) -> bool:
        """Whether any call may be traced."""
        return bool(self.traces_endpoint) and (self.trace_ratio > 0 or self.trace_callers)
