"""What can be set, as the core sees it: small frozen records, parsed and checked by ``config`` and ``sources``.

Every field says its unit and its range; the defaults serve without any configuration.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class BatchingMode(Enum):
    """Who decides whether requests to a model are concatenated."""

    AUTO = "auto"  # the server probes the model and batches it where that changes no answer
    ALWAYS = "always"  # the owner vouches that rows are independent; the probe is skipped
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How one model's requests form batches.

    ``max_rows``: rows per batch, >= 1; what ``rows_limit`` does not forbid but exceeds it runs alone.
    ``rows_limit``: rows per request, >= 1, or 0 for no limit; set where the owner declares a ``max_batch_size``.
    ``delay_s``: how long an incomplete batch may wait for more rows while a slot is free, >= 0; 0 is work-conserving.
    ``preferred_rows``: batch sizes worth dispatching before the delay is over, ascending.
    ``allowed_rows``: batch sizes that the model runs at (padded up to the next), ascending; empty means any.
    ``max_queued_requests`` / ``max_queued_rows`` / ``max_queued_bytes``: bounds of the waiting line, >= 1.
    ``default_timeout_s``: how long a request without a deadline may wait, > 0.
    ``execution_limit_s``: when a running batch is given up and its thread replaced, > 0.
    """

    mode: BatchingMode = BatchingMode.AUTO
    max_rows: int = 64
    rows_limit: int = 0
    delay_s: float = 0.0
    preferred_rows: tuple[int, ...] = ()
    allowed_rows: tuple[int, ...] = ()
    max_queued_requests: int = 8192
    max_queued_rows: int = 1 << 20
    max_queued_bytes: int = 1 << 30
    default_timeout_s: float = 60.0
    execution_limit_s: float = 60.0

    def padded(self, rows: int) -> int:
        """Return the allowed batch size that ``rows`` are padded to; ``rows`` where none is larger."""
        return next((allowed for allowed in self.allowed_rows if allowed >= rows), rows)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How one model runs.

    ``instances``: batches of the model that may run at once, >= 1, or 0 to use every slot of the pool.
    ``intra_op_threads``: ONNX Runtime threads within one operator, >= 1, or 0 to let the server choose.
    """

    instances: int = 0
    intra_op_threads: int = 0


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """Bounds of all that the server holds at once, over all models: requests, rows and bytes, each >= 1."""

    max_requests: int = 16384
    max_rows: int = 1 << 21
    max_bytes: int = 2 << 30


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
