"""The page for Prometheus: by its own parser, by a real server, and when the port is taken."""

import asyncio
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal_server.app import Server
from shoal_server.config import Settings
from shoal_server.errors import CannotListen
from shoal_server.telemetry import prometheus as prometheus_page
from shoal_testing.at_rest import eventually
from shoal_testing.caller import Caller
from shoal_testing.scripted import pair
from shoal_testing.server import RunningServer, running_server

PROMETHEUS = shutil.which("prometheus")


@pytest.fixture
def served(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder, telemetry={"prometheus": "127.0.0.1:0"}) as running, Caller(running.address) as caller:
        for rows in (1, 2, 3):
            assert caller.infer(pair(*range(rows))).status == "OK"
        assert caller.infer(pair()).status in {"OK", "INVALID_ARGUMENT"}
        yield running


def page(running: RunningServer, path: str = "/metrics") -> str:
    address = running.server.telemetry.prometheus_address
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        text: str = response.read().decode()
    return text


def test_the_page_is_in_prometheus_own_format_and_holds_the_counts(served: RunningServer) -> None:
    families = {family.name: family for family in text_string_to_metric_families(page(served))}
    calls = families["rpc_server_call_duration_seconds"]
    assert calls.type == "histogram"
    counted = {
        (sample.labels["rpc_method"], sample.labels["rpc_status_code"]): sample.value
        for sample in calls.samples
        if sample.name.endswith("_count")
    }
    assert sum(counted.values()) == 4
    assert families["shoal_model_requests"].type == "counter"
    ok = [s for s in families["shoal_model_requests"].samples if s.labels["shoal_outcome"] == "ok"]
    assert {(s.labels["shoal_model_name"], s.labels["shoal_model_version"]) for s in ok} == {("pair", "1")}
    buckets = [s for s in families["shoal_model_batch_rows"].samples if s.name.endswith("_bucket")]
    values = {s.labels["le"]: s.value for s in buckets}
    assert values["+Inf"] - values["2.0"] == 1, "one batch had three rows"
    assert list(values.values()) == sorted(values.values())
    states = {s.labels["shoal_model_version_state"] for s in families["shoal_model_version_state"].samples}
    assert states == {"ready"}
    assert families["process_memory_usage_bytes"].samples[0].value > 20_000_000
    assert families["process_cpu_time_seconds"].type == "counter"


def test_a_server_whose_loop_is_busy_says_so_and_the_next_scrape_works(
    served: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shoal_server.telemetry.telemetry._READ_WITHIN_S", 0.0)
        with pytest.raises(urllib.error.HTTPError) as caught:
            page(served)
        assert caught.value.code == 503
        caught.value.close()
    assert "shoal_event_loop_lag_seconds" in page(served)


def test_who_asks_byte_by_byte_is_hung_up_on_so_that_others_are_answered(
    served: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_page, "_MOST_S", 0.1)
    host, _colon, port = served.server.telemetry.prometheus_address.rpartition(":")
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(8)]
        for one in slow:
            one.sendall(b"GET /metrics HTTP/1.0\r\nX-Slow: ")
            one.settimeout(0.02)

        def hung_up_on() -> bool:
            try:
                return [one.send(b"x") and one.recv(1) for one in slow] == [b""] * 8
            except TimeoutError:
                return False
            except OSError:
                return True

        eventually(served, hung_up_on, bool, "they are listened to for ever")
    assert "shoal_event_loop_lag_seconds" in page(served)


def test_a_port_whose_connections_the_page_ended_is_free_for_the_next_server() -> None:
    def serve_once(port: int) -> int:
        serving = prometheus_page.PrometheusPage("127.0.0.1", port, lambda: None)
        host, _, bound = serving.start().rpartition(":")
        try:
            with socket.create_connection((host, int(bound)), timeout=10) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                while scraper.recv(1 << 16):
                    pass  # it hangs up first, and its end is the one that waits for what is late
        finally:
            serving.stop()
        return int(bound)

    port = serve_once(0)
    assert serve_once(port) == port


def test_a_port_that_is_taken_is_an_error_at_the_start_that_names_the_setting(folder: Path) -> None:
    async def start(settings: Settings) -> tuple[str, str]:
        server = Server(settings)
        try:
            await server.start()
        except CannotListen as error:
            return str(error), error.setting
        finally:
            await server.stop(0)
        return "", ""

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings.model_validate(
            {"models": folder, "address": "127.0.0.1:0", "telemetry": {"prometheus": address}}
        )
        complaint, setting = asyncio.run(start(settings))
    assert complaint == f"cannot serve metrics on {address}: Address already in use"
    assert setting == "telemetry.prometheus"


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Run a real Prometheus that scrapes the target every 100 ms; yield the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = folder / "prometheus.yml"
    jobs = [{"job_name": "shoal", "scrape_interval": "100ms", "static_configs": [{"targets": [target]}]}]
    configuration.write_text(json.dumps({"scrape_configs": jobs}))  # JSON is YAML
    assert PROMETHEUS is not None
    with subprocess.Popen(  # noqa: S603 - our own command line
        [
            PROMETHEUS,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield address
        finally:
            process.kill()


def query(address: str, expression: str) -> dict[str, float]:
    """Return the answers of an instant query by the labels that it groups by; empty while there is none."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            found: Any = json.load(response)
    except OSError:  # it is starting
        return {}
    return {" ".join(one["metric"].values()): float(one["value"][1]) for one in found["data"]["result"]}


@pytest.mark.skipif(
    PROMETHEUS is None, reason="there is no prometheus on this machine (Debian: apt-get install prometheus)"
)
def test_a_real_prometheus_scrapes_it_and_answers_a_query(served: RunningServer, tmp_path: Path) -> None:
    expression = 'sum by (shoal_model_name) (shoal_model_requests_total{shoal_outcome="ok"})'
    with prometheus(tmp_path, served.server.telemetry.prometheus_address) as address:
        found = eventually(served, lambda: query(address, expression), bool, "it has not scraped")
        assert found["pair"] >= 3
        quantile = "histogram_quantile(0.5, sum by (le) (rpc_server_call_duration_seconds_bucket))"
        assert 0 < query(address, quantile)[""] <= 10
        assert query(address, 'sum(up{job="shoal"})')[""] == 1
