"""h2load, the load generator of nghttp2: thousands of calls by an HTTP/2 client that knows nothing of gRPC."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.caller import INFER, request_of
from shoal_testing.http2 import grpc_message
from shoal_testing.server import RunningServer, running_server
from shoal_testing.wire import INFERENCE, Wire

H2LOAD: Final = shutil.which("h2load")
CALLS: Final = 2_000

pytestmark = pytest.mark.skipif(H2LOAD is None, reason="there is no h2load here (nghttp2-client in Debian)")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    models.save(tmp_path, "pair", models.identity("FP32", ["N", 2]))
    with running_server(tmp_path) as running:
        yield running


@pytest.mark.timeout(60)
def test_thousands_of_calls_all_succeed(server: RunningServer, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(grpc_message(request_of("pair", x=np.ones((1, 2), np.float32)).SerializeToString()))
    assert H2LOAD is not None
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    ran = subprocess.run(  # noqa: S603 - what the system has installed
        [H2LOAD, "-n", str(CALLS), "-c", "4", "-m", "25", "-d", body, *headers, f"http://{server.address}{INFER}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert f"{CALLS} succeeded, 0 failed, 0 errored, 0 timeout" in ran.stdout
    assert f"{CALLS} 2xx, 0 3xx, 0 4xx, 0 5xx" in ran.stdout
    # It takes any answer of 200 for a success, and in gRPC errors are of 200, too.
    with Wire(server.address) as wire:
        asked = pb.ModelStatisticsRequest(name="pair")
        answer = wire.call(INFERENCE + "ModelStatistics", asked, pb.ModelStatisticsResponse)
    [statistics] = answer.model_stats
    assert statistics.inference_stats.success.count == CALLS
    assert statistics.inference_stats.fail.count == 0
