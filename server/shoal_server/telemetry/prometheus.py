"""The figures on a page that a Prometheus server scrapes."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shoal_server.errors import CannotListen
from shoal_server.histogram import Buckets
from shoal_server.telemetry.figures import Figure, Kind

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

SETTING: Final = "telemetry.prometheus"
_MOST_SCRAPES: Final = 8  # at once; who comes when so many are under way is turned away
_IDLE_S: Final = 10.0
_MOST_S: Final = 20.0  # for a scrape, however steadily its bytes trickle in or out
_UNITS: Final = {"s": "seconds", "By": "bytes"}


class _Collector(Collector):
    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        return map(_family, self._figures)


class _Page:
    """The WSGI application: figures are read once for each scrape."""

    def __init__(self, read: Callable[[], Sequence[Figure] | None]) -> None:
        self._read = read

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        figures = self._read()
        if figures is None:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"the server is too busy to be measured\n"]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(figures))
        page: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
        return page


def _family(figure: Figure) -> Metric:
    """Name a figure as the OpenTelemetry specification says (compatibility/prometheus_and_openmetrics)."""
    unit = _UNITS.get(figure.unit, "")
    name = figure.name.replace(".", "_")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    keys = figure.attributes
    labels = [key.replace(".", "_") for key in keys]
    if figure.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, figure.about, labels=labels)
        for attributes, value, _since in figure.points:
            assert isinstance(value, Buckets), "a histogram is wanted"
            bounds = [*(str(bound) for bound in value.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(value.counts), strict=True))
            histogram.add_metric(_values(keys, dict(attributes)), buckets, value.total)
        return histogram
    kind = CounterMetricFamily if figure.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, figure.about, labels=labels)
    for attributes, value, _since in figure.points:
        assert not isinstance(value, Buckets), "a number is wanted"
        family.add_metric(_values(keys, dict(attributes)), value)
    return family


def _values(keys: Sequence[str], attributes: dict[str, str]) -> list[str]:
    # Prometheus takes an empty label for an absent one.
    return [attributes.get(key, "") for key in keys]


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of WSGIServer
        self._scrapes = threading.BoundedSemaphore(_MOST_SCRAPES)
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Bind, without asking the name service for this machine's name as the base class does.

        The port is free though connections that the server before ended still wait for what may come late.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        if not self._scrapes.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._scrapes.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        too_long = threading.Timer(_MOST_S, _hang_up, (request,))
        too_long.daemon = True
        too_long.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            too_long.cancel()
            self._scrapes.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Whoever scrapes and leaves halfway is no error of ours."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Scrapes are not worth a line each."""


class PrometheusPage:
    """Serves /metrics from ``start`` to ``stop``, on threads of its own; both block, so not on the loop."""

    def __init__(self, host: str, port: int, read: Callable[[], Sequence[Figure] | None]) -> None:
        self._page = _Page(read)
        self._host = host
        self._port = port
        self._server: WSGIServer | None = None

    def start(self) -> str:
        """Bind and serve; return the address as bound.

        Raises:
            CannotListen: the address is taken or not of this machine.
        """
        host = self._host.strip("[]")
        try:
            server = (_Server6 if ":" in host else _Server)((host, self._port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotListen(f"cannot serve metrics on {self._host}:{self._port}: {reason}", SETTING) from error
        server.set_app(self._page)
        self._server = server
        threading.Thread(target=server.serve_forever, name="shoal-prometheus", args=(0.1,), daemon=True).start()
        return f"{self._host}:{server.server_port}"

    def stop(self) -> None:
        """Close the socket; scrapes under way may end by themselves."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
