"""All that can be set, with units, ranges, defaults and below each a sentence why: the tables of `shoal.toml`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shoal_server.config.address import ADDRESS_FORM, LISTENER_FORM, check_address, check_listener
from shoal_server.config.callers import EVERYBODY_ELSE, quota_of, weight_of
from shoal_server.options import (
    AdmissionOptions,
    BatchingOptions,
    CallerKey,
    CallerOptions,
    FairnessOptions,
    QuotaOptions,
    RuntimeOptions,
    TelemetryOptions,
)

_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s?#]*", re.ASCII)
URL_FORM: Final = "a URL, such as http://collector:4317"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts; shown beside its range."""

    name: str


@dataclass(frozen=True, slots=True)
class Form:
    """How a text is to look; shown in place of its range."""

    text: str


def _check_url(url: str) -> str:
    if url and _URL.fullmatch(url) is None:
        raise ValueError(f"wanted {URL_FORM}, got {url!r}")
    return url


def _listed(names: object) -> object:
    """Take a list, or names with commas between them, as variables and flags have them."""
    if isinstance(names, str):
        return tuple(name.strip() for name in names.split(",") if name.strip())
    return tuple(names) if isinstance(names, list) else names


_ADMISSION: Final = AdmissionOptions()
_BATCHING: Final = BatchingOptions()
_RUNTIME: Final = RuntimeOptions()
_TELEMETRY: Final = TelemetryOptions()

_Requests = Annotated[int, Field(ge=1, le=1 << 30), Unit("requests")]
_Rows = Annotated[int, Field(ge=1, le=1 << 40), Unit("rows")]
_Bytes = Annotated[int, Field(ge=1, le=1 << 50), Unit("bytes")]
_MessageBytes = Annotated[int, Field(ge=1024, le=2**31 - 1), Unit("bytes")]
_MetadataBytes = Annotated[int, Field(ge=1024, le=2**20), Unit("bytes")]
_Batches = Annotated[int, Field(ge=0, le=1024), Unit("batches")]
_Threads = Annotated[int, Field(ge=0, le=1024), Unit("threads")]
_IoThreads = Annotated[int, Field(ge=1, le=64), Unit("threads")]
_Timeout = Annotated[float, Field(gt=0, le=86_400), Unit("seconds")]
_NoLimit = Annotated[float, Field(ge=0, le=86_400), Unit("seconds")]
_UpToAnHour = Annotated[float, Field(ge=0, le=3600), Unit("seconds")]
_Delay = Annotated[float, Field(ge=0, le=60_000), Unit("milliseconds")]
_Listener = Annotated[str, AfterValidator(check_listener), Form(LISTENER_FORM)]
_OptionalListener = Annotated[
    str, AfterValidator(lambda address: check_listener(address) if address else ""), Form(LISTENER_FORM)
]
_OptionalAddress = Annotated[
    str, AfterValidator(lambda address: check_address(address) if address else ""), Form(ADDRESS_FORM)
]
_Path = Annotated[Path, Field(strict=False)]
_OptionalPath = Annotated[Path | None, Field(strict=False), BeforeValidator(lambda path: path or None)]
_Age = Annotated[float, Field(ge=0, le=10 * 86_400), Unit("seconds")]
_Ratio = Annotated[float, Field(ge=0, le=1), Unit("calls, as a share of all,")]
_Url = Annotated[str, AfterValidator(_check_url), Form(URL_FORM)]
_Entries = Annotated[int, Field(ge=1, le=1 << 20), Unit("calls and batches")]
_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


def _checked(parse: Callable[[str], object]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return a check that every line can be parsed."""

    def check(lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            parse(line)
        return lines

    return check


_Weights = Annotated[_Names, AfterValidator(_checked(weight_of)), Unit("NAME=WEIGHT, above 0")]
_QUOTA_FORM: Final = "NAME LIMIT=NUMBER ... (of concurrency, requests_per_s, rows_per_s, burst_s)"
_Quotas = Annotated[_Names, AfterValidator(_checked(quota_of)), Unit(_QUOTA_FORM)]


class _Section(BaseModel):
    # Strict: `slots = true` is a mistake and no 1. Text from variables and flags is parsed before it comes here.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LimitSettings(_Section):
    """Bounds that keep the server's memory independent of its load; what is beyond them is refused at the door."""

    max_requests: _Requests = _ADMISSION.max_requests
    """All requests that may be inside the server at once, over all models."""
    max_rows: _Rows = _ADMISSION.max_rows
    """All rows of these requests together."""
    max_bytes: _Bytes = _ADMISSION.max_bytes
    """All bytes of these requests together, as they came over the wire."""
    max_message_bytes: _MessageBytes = 64 << 20
    """One message, in or out: a larger request is refused before it is read whole."""
    max_metadata_bytes: _MetadataBytes = 16 << 10
    """The headers of one call, which are read before anything can be refused."""

    def options(self) -> AdmissionOptions:
        """Return what the admission gate takes."""
        return AdmissionOptions(self.max_requests, self.max_rows, self.max_bytes)


class BatchingSettings(_Section):
    """How requests form batches, for every model whose own configuration says nothing else."""

    max_rows: _Rows = _BATCHING.max_rows
    """Rows per batch: more help throughput, fewer help the slowest request."""
    delay_ms: _Delay = _BATCHING.delay_s * 1000
    """How long an incomplete batch waits for more rows; 0 starts it as soon as a thread is free."""
    default_timeout_s: _Timeout = _BATCHING.default_timeout_s
    """How long a request may wait whose caller set no deadline, so that none waits for ever."""
    queue_limit_s: _NoLimit = _BATCHING.queue_limit_s
    """How long any request may wait for its batch; 0 leaves that to its deadline."""
    max_timeout_s: _Timeout = _BATCHING.max_timeout_s
    """How long a request may ask to wait, by its parameter `timeout`, in place of the two limits above."""
    aging_ms: _Delay = _BATCHING.aging_s * 1000
    """By how much one priority goes before the next: the least of L levels waits (L - 1) times that longer, at most."""
    adaptive_limit: bool = _BATCHING.adaptive_limit
    """Bounds each model's requests by how long they take; for callers without deadlines, who else queue for long."""
    execution_limit_s: _Timeout = _BATCHING.execution_limit_s
    """When a batch that still runs is given up: its requests fail and its thread is replaced."""

    def options(self) -> BatchingOptions:
        """Return how a model is batched unless its own configuration says otherwise."""
        return BatchingOptions(
            max_rows=self.max_rows,
            delay_s=self.delay_ms / 1000,
            default_timeout_s=self.default_timeout_s,
            queue_limit_s=self.queue_limit_s,
            max_timeout_s=self.max_timeout_s,
            aging_s=self.aging_ms / 1000,
            adaptive_limit=self.adaptive_limit,
            execution_limit_s=self.execution_limit_s,
            tunes_rows="max_rows" not in self.model_fields_set,
            tunes_delay="delay_ms" not in self.model_fields_set,
        )


class RuntimeSettings(_Section):
    """Which threads compute."""

    slots: _Batches = 0
    """Batches that run at once, over all models; 0 follows the CPU quota."""
    load_threads: _Threads = 0
    """Models that load at once; 0 follows the CPU quota."""
    intra_op_threads: _Threads = _RUNTIME.intra_op_threads
    """Threads within one batch, for models whose own configuration says nothing else; 0 lets the server choose."""
    io_threads: _IoThreads = 1
    """Threads that carry bytes on the native transport: more where one is always busy, as with TLS on many CPUs."""
    tuning_budget_s: _UpToAnHour = _RUNTIME.tuning_budget_s
    """How long a load may measure what threads, batch sizes and waits pay that nobody has set; 0 measures nothing."""

    def options(self) -> RuntimeOptions:
        """Return how a model runs unless its own configuration says otherwise."""
        return RuntimeOptions(intra_op_threads=self.intra_op_threads, tuning_budget_s=self.tuning_budget_s)


class CallersSettings(_Section):
    """What tells callers apart, for fair shares of every model and of the server, and for quotas."""

    by: Literal["off", "identity", "address", "metadata"] = "off"
    """A verified certificate (else the address), the address, or the metadata. Off: behind a proxy all would be one."""
    metadata_key: str = "x-caller-id"
    """The caller's metadata that names him, for by = metadata: only for callers who are trusted to say who they are."""
    weights: _Weights = ()
    """How much a caller weighs against the others where they share; 1 where nothing is said."""
    quotas: _Quotas = ()
    """What a caller may have: concurrency, requests_per_s, rows_per_s (burst_s: at once), as in `* concurrency=8`."""

    def options(self) -> CallerOptions | None:
        """Return what admission, fairness and the wire take; None where callers are not told apart."""
        if self.by == "off":
            return None
        quotas = dict(quota_of(line) for line in self.quotas)
        quota = quotas.pop(EVERYBODY_ELSE, QuotaOptions())
        fairness = FairnessOptions(dict(weight_of(line) for line in self.weights))
        return CallerOptions(CallerKey(self.by), self.metadata_key, fairness, quotas, quota)


class LifecycleSettings(_Section):
    """How versions come and go."""

    state: _OptionalPath = None
    """A folder that keeps which versions operators want, for a restart to serve the same; by default MODELS/.shoal."""
    keep_warm_s: _Age = 300.0
    """How long the version that a swap replaces stays loaded, so that a rollback takes no time."""
    load_limit_s: _Timeout = 600.0
    """When a version that still loads or warms up is given up."""


class TlsSettings(_Section):
    """Certificates in PEM files, read again when they change. With client_ca, callers must have one too (mTLS)."""

    certificate: _OptionalPath = None
    """The server's certificate, followed by those between it and the CA; none serves without TLS."""
    key: _OptionalPath = None
    """The private key of the certificate."""
    client_ca: _OptionalPath = None
    """The CAs whose certificates callers must show; none lets callers in without one."""
    max_connection_age_s: _Age = 3600.0
    """When a connection is replaced, so that a withdrawn certificate is not used for ever; streams get grace_s more."""


class AdminSettings(_Section):
    """Who may change what is served, and where."""

    address: _OptionalListener = ""
    """Where the admin service listens; by default where everything else does."""
    identities: _Names = ()
    """Who may call it: spiffe://DOMAIN/PATH, dns:NAME or subject:CN=NAME, each as `shoal certs show FILE` prints it."""


class ClientSettings(_Section):
    """How the commands that call a server, such as `shoal models`, do it; a server itself does not care."""

    ca: _OptionalPath = None
    """The CA of the server's certificate; with it, calls are made by TLS."""
    certificate: _OptionalPath = None
    """The certificate that says who calls, for servers that want one (mTLS)."""
    key: _OptionalPath = None
    """The private key of that certificate."""
    server_name: str = ""
    """The name in the server's certificate, where it is not that of the address."""


class ProbeSettings(_Section):
    """Health for those who have no certificate, such as a Kubernetes probe."""

    address: _OptionalListener = ""
    """Where health alone is served, always without TLS; by default nowhere."""


class TelemetrySettings(_Section):
    """Metrics, traces and logs. The `OTEL_*` variables hold where nothing is said here."""

    prometheus: _OptionalAddress = ""
    """Where a Prometheus server scrapes /metrics; by default nowhere."""
    otlp_endpoint: _Url = ""
    """Where metrics and traces are pushed by OTLP, as http://collector:4317; by default nowhere."""
    otlp_metrics_endpoint: _Url = ""
    """Where metrics are pushed if that is elsewhere; the whole URL, its path included."""
    otlp_traces_endpoint: _Url = ""
    """Where traces are pushed if that is elsewhere; the whole URL, its path included."""
    otlp_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    """What the collector speaks."""
    push_metrics: bool = True
    """Pushes metrics to the endpoint."""
    push_traces: bool = True
    """Pushes traces to the endpoint."""
    metric_interval_s: _Timeout = _TELEMETRY.metric_interval_s
    """How often metrics are pushed."""
    metric_temporality: Literal["cumulative", "delta"] = "cumulative"
    """Whether metrics that are pushed count since the start, or since the last push."""
    trace_ratio: _Ratio = _TELEMETRY.trace_ratio
    """The share of calls that are traced where the caller's own trace does not decide."""
    trace_callers: bool = _TELEMETRY.trace_callers
    """Lets a caller's own trace decide whether its call is traced; without it only the ratio does."""
    trace_interval_s: _Timeout = _TELEMETRY.trace_interval_s
    """How long a traced call may wait until it is pushed."""
    trace_queue: _Entries = _TELEMETRY.trace_queue
    """How many traced calls and batches may wait for the collector; beyond it they are dropped, and counted."""
    log_format: Literal["text", "json"] = "text"
    """How a line of the log is written."""
    enabled: bool = True
    """Lets metrics and traces leave the server at all."""

    def options(self) -> TelemetryOptions:
        """Return who is told what, with the endpoint of each signal."""
        metrics = self._endpoint(self.otlp_metrics_endpoint, "/v1/metrics") if self.push_metrics else ""
        traces = self._endpoint(self.otlp_traces_endpoint, "/v1/traces") if self.push_traces else ""
        return TelemetryOptions(
            self.prometheus if self.enabled else "",
            metrics if self.enabled else "",
            traces if self.enabled else "",
            self.otlp_protocol,
            self.metric_interval_s,
            self.metric_temporality == "delta",
            self.trace_ratio,
            self.trace_callers,
            self.trace_interval_s,
            self.trace_queue,
        )

    def _endpoint(self, own: str, path: str) -> str:
        """Return where a signal goes: over HTTP each has a path of its own below the common endpoint."""
        if own or not self.otlp_endpoint or self.otlp_protocol == "grpc":
            return own or self.otlp_endpoint
        return self.otlp_endpoint.rstrip("/") + path


class Settings(_Section):
    """All that can be set for a server."""

    models: _Path = Path("models")
    """A folder that holds NAME/VERSION/model.onnx for each model, or one .onnx file."""
    address: _Listener = "127.0.0.1:8001"
    """Where to listen; other machines can connect only if you say so, as by 0.0.0.0:8001."""
    insecure: bool = False
    """Lets other machines connect without TLS, for networks where something else authenticates and encrypts."""
    transport: Literal["auto", "native", "grpcio"] = "auto"
    """What carries the calls; auto takes the fastest that is installed."""
    grace_s: _UpToAnHour = 30.0
    """How long requests under way may take to finish once the server is told to stop."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least grave message that is logged."""
    limits: LimitSettings = LimitSettings()
    batching: BatchingSettings = BatchingSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    callers: CallersSettings = CallersSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    tls: TlsSettings = TlsSettings()
    admin: AdminSettings = AdminSettings()
    probe: ProbeSettings = ProbeSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    client: ClientSettings = ClientSettings()
