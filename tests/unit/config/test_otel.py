"""OpenTelemetry's own variables: stronger than defaults, weaker than anything of ours."""

from pathlib import Path

import pytest

from shoal_server.config import load
from shoal_server.options import TelemetryOptions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(environ: dict[str, str], flags: dict[str, str] | None = None) -> TelemetryOptions:
    configuration = load(flags or {}, environ=environ)
    assert configuration.remarks == ()
    return configuration.settings.telemetry.options()


def test_an_endpoint_turns_metrics_and_traces_on() -> None:
    got = options({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"})
    assert (got.metrics_endpoint, got.traces_endpoint, got.protocol) == ("http://c:4317", "http://c:4317", "grpc")
    assert got.traces


def test_over_http_each_signal_has_its_path_unless_its_whole_url_is_given() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:4318/mine",
    }
    got = options(environ)
    assert (got.metrics_endpoint, got.traces_endpoint) == ("http://c:4318/v1/metrics", "http://t:4318/mine")


@pytest.mark.parametrize(
    ("name", "argument", "ratio", "callers"),
    [
        ("always_on", "", 1.0, False),
        ("always_off", "", 0.0, False),
        ("traceidratio", "0.25", 0.25, False),
        ("parentbased_always_on", "", 1.0, True),
        ("parentbased_always_off", "", 0.0, True),
        ("parentbased_traceidratio", "0.01", 0.01, True),
        ("parentbased_traceidratio", "", 1.0, True),
    ],
)
def test_samplers_are_a_ratio_and_whether_callers_decide(
    name: str,
    argument: str,
    ratio: float,
    callers: bool,  # noqa: FBT001
) -> None:
    got = options({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert (got.trace_ratio, got.trace_callers) == (ratio, callers)


def test_intervals_are_milliseconds() -> None:
    environ = {
        "OTEL_METRIC_EXPORT_INTERVAL": "1500",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
        "OTEL_BSP_MAX_QUEUE_SIZE": "99",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "LowMemory",
    }
    got = options(environ)
    assert (got.metric_interval_s, got.trace_interval_s, got.trace_queue, got.delta) == (1.5, 0.25, 99, True)


def test_exporters_can_be_none_or_prometheus() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    assert not options({**endpoint, "OTEL_TRACES_EXPORTER": "none"}).traces
    assert options({**endpoint, "OTEL_TRACES_EXPORTER": "none"}).metrics_endpoint
    scraped = options({**endpoint, "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "9000"})
    assert (scraped.metrics_endpoint, scraped.prometheus) == ("", "localhost:9000")
    both = options({**endpoint, "OTEL_METRICS_EXPORTER": "otlp, prometheus"})
    assert (both.metrics_endpoint, both.prometheus) == ("http://c:4317", "localhost:9464")


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_page_for_prometheus_may_have_an_address_of_ipv6(host: str) -> None:
    said = options({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST": host})
    assert said.prometheus == "[::1]:9464"


def test_the_sdk_can_be_disabled_and_a_key_of_ours_enables_it_again() -> None:
    environ = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    got = options(environ, {"telemetry.prometheus": "127.0.0.1:9464"})
    assert (got.metrics_endpoint, got.traces_endpoint, got.prometheus) == ("", "", "")
    assert options(environ, {"telemetry.enabled": "true"}).metrics_endpoint == "http://c:4317"


def test_ours_is_stronger_and_the_origin_tells(folder: Path) -> None:
    (folder / "shoal.toml").write_text("[telemetry]\ntrace_ratio = 0.5\n")
    environ = {
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "SHOAL_TELEMETRY__METRIC_INTERVAL_S": "7",
    }
    configuration = load({}, environ=environ)
    telemetry = configuration.settings.telemetry
    assert (telemetry.trace_ratio, telemetry.metric_interval_s, telemetry.trace_callers) == (0.5, 7.0, False)
    assert dict(configuration.origins) == {
        "telemetry.trace_ratio": "shoal.toml",
        "telemetry.metric_interval_s": "SHOAL_TELEMETRY__METRIC_INTERVAL_S",
        "telemetry.trace_callers": "OTEL_TRACES_SAMPLER",
    }


def test_an_endpoint_of_ours_is_stronger_than_opentelemetrys_for_one_signal() -> None:
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://theirs:4317"}
    assert options(environ).traces_endpoint == "http://theirs:4317"
    assert options(environ, {"telemetry.otlp_endpoint": "http://ours:4317"}).traces_endpoint == "http://ours:4317"


def test_an_endpoint_without_a_scheme_means_tls_unless_it_is_said_to_be_insecure() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}
    assert options(environ).metrics_endpoint == "https://c:4317"
    assert options({**environ, "OTEL_EXPORTER_OTLP_INSECURE": "true"}).metrics_endpoint == "http://c:4317"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c", "telemetry.otlp_endpoint cannot be 'ftp://c'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "telemetry.otlp_protocol cannot be 'http/json'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "wanted a number, got 'soon'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "inf", "wanted a number, got 'inf'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1e999", "wanted a number, got '1e999'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "telemetry.metric_interval_s cannot be -0.001"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "got 'jaeger_remote'"),
        ("OTEL_METRICS_EXPORTER", "console", "there is otlp, prometheus and none, got 'console'"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "there is otlp and none, got 'zipkin'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "telemetry.trace_queue cannot be 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "inf", "wanted a whole number, got 'inf'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "nan", "wanted a whole number, got 'nan'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1.5", "wanted a whole number, got '1.5'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 5000, "wanted a whole number, got '999"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sideways", "cannot be 'sideways'"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_of_and_ignored(name: str, value: str, why: str) -> None:
    configuration = load({}, environ={name: value})
    assert configuration.settings == load({}, environ={}).settings
    (remark,) = configuration.remarks
    assert remark.startswith(f"{name} is ignored: ")
    assert why in remark
    assert len(remark) < 250


@pytest.mark.parametrize("argument", ["nan", "inf", "half"])
def test_a_sampler_whose_argument_is_no_number_is_ignored(argument: str) -> None:
    configuration = load({}, environ={"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})
    assert configuration.remarks == (f"OTEL_TRACES_SAMPLER is ignored: wanted a number, got {argument!r}",)


def test_a_sampler_whose_argument_is_no_share_is_ignored() -> None:
    configuration = load({}, environ={"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"})
    assert configuration.settings.telemetry.trace_ratio == 0
    assert len(configuration.remarks) == 1


def test_signals_that_would_go_by_two_protocols_go_by_the_common_one() -> None:
    same = load({}, environ={"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"})
    assert same.settings.telemetry.otlp_protocol == "http/protobuf"
    other = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    configuration = load({}, environ=other)
    assert configuration.settings.telemetry.otlp_protocol == "grpc"
    assert len(configuration.remarks) == 1
