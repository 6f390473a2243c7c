"""What the variables of OpenTelemetry say about our settings; the weakest source after the defaults.

Their names and values are those of the specification (opentelemetry.io/docs/specs/otel/configuration). It asks that a
value which cannot be used be told of and then ignored, as somebody may have set it for all programs of a machine. What
is not read here (headers, certificates, timeouts, compression, the resource) the exporters read themselves.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from pydantic import ValidationError

from shoal_server.config.settings import Settings

PREFIX: Final = "OTEL_"

_ENDPOINTS: Final = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "otlp_endpoint",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "otlp_metrics_endpoint",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "otlp_traces_endpoint",
}
_SIGNAL_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_TEMPORALITIES: Final = {"cumulative": "cumulative", "delta": "delta", "lowmemory": "delta"}

_MOST_DIGITS: Final = 18  # below 2 ** 63

Found = tuple[str, object, str]
"""Key, value, and the variable that it comes from."""


class _Unusable(Exception):
    """Why a value is ignored."""


def from_otel(environ: Mapping[str, str]) -> tuple[list[Found], list[str]]:
    """Return what is set, and a sentence for each variable that is ignored."""
    found: list[Found] = []
    remarks: list[str] = []
    for variable, read in _READERS.items():
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            for name, value in read(text, environ):
                found.append((f"telemetry.{name}", _checked(name, value), variable))
        except _Unusable as error:
            remarks.append(f"{variable} is ignored: {error}")
    return found, remarks


_Read = Callable[[str, Mapping[str, str]], Iterator[tuple[str, object]]]


def _endpoint(name: str) -> _Read:
    def read(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
        if "://" not in text:  # as some write it for gRPC; then another variable says whether TLS is wanted
            plain = environ.get("OTEL_EXPORTER_OTLP_INSECURE", "").lower() == "true"
            text = f"{'http' if plain else 'https'}://{text}"
        yield name, text

    return read


def _protocol(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "otlp_protocol", text


def _signal_protocol(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    if {environ.get(other, text) for other in (*_SIGNAL_PROTOCOLS, "OTEL_EXPORTER_OTLP_PROTOCOL")} != {text}:
        raise _Unusable("metrics and traces go by one protocol, that of OTEL_EXPORTER_OTLP_PROTOCOL")
    yield "otlp_protocol", text


def _interval(name: str) -> _Read:
    def read(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
        yield name, _number(text) / 1000

    return read


def _queue(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise _Unusable(f"wanted a whole number, got {text!r:.80}")
    yield "trace_queue", int(text)


def _temporality(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "metric_temporality", _TEMPORALITIES.get(text.lower(), text)


def _metrics_exporter(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    names = _exporters(text, {"otlp", "prometheus"})
    yield "push_metrics", "otlp" in names
    if "prometheus" in names:
        host = environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost"
        if ":" in host and not host.startswith("["):  # the variable's IPv6 has no brackets, as it has no port
            host = f"[{host}]"
        yield "prometheus", f"{host}:{environ.get('OTEL_EXPORTER_PROMETHEUS_PORT') or 9464}"


def _traces_exporter(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "push_traces", "otlp" in _exporters(text, {"otlp"})


def _exporters(text: str, known: set[str]) -> set[str]:
    names = {name.strip() for name in text.split(",")} - {"none"}
    if names - known:
        raise _Unusable(f"there is {', '.join(sorted(known))} and none, got {text!r:.80}")
    return names


def _sampler(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    name = text.removeprefix("parentbased_")
    ratios: dict[str, Callable[[], float]] = {
        "always_on": lambda: 1.0,
        "always_off": lambda: 0.0,
        "traceidratio": lambda: _number(environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"),
    }
    if name not in ratios:
        raise _Unusable(f"there is {', '.join(ratios)}, each also after parentbased_, got {text!r:.80}")
    yield "trace_ratio", ratios[name]()
    yield "trace_callers", name != text


def _disabled(text: str, _environ: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "enabled", text.lower() != "true"


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Unusable(f"wanted a number, got {text!r:.80}")
    return number


def _checked(name: str, value: object) -> object:
    try:
        Settings.model_validate({"telemetry": {name: value}})
    except ValidationError:
        raise _Unusable(f"telemetry.{name} cannot be {value!r:.80}") from None
    return value


_READERS: Final[Mapping[str, _Read]] = {
    **{variable: _endpoint(name) for variable, name in _ENDPOINTS.items()},
    **dict.fromkeys(_SIGNAL_PROTOCOLS, _signal_protocol),
    "OTEL_EXPORTER_OTLP_PROTOCOL": _protocol,
    "OTEL_METRIC_EXPORT_INTERVAL": _interval("metric_interval_s"),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": _temporality,
    "OTEL_METRICS_EXPORTER": _metrics_exporter,
    "OTEL_TRACES_EXPORTER": _traces_exporter,
    "OTEL_TRACES_SAMPLER": _sampler,
    "OTEL_BSP_SCHEDULE_DELAY": _interval("trace_interval_s"),
    "OTEL_BSP_MAX_QUEUE_SIZE": _queue,
    "OTEL_SDK_DISABLED": _disabled,
}
