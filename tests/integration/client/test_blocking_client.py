"""The blocking client and the real server."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shoal_client import CallError, Client, Coalescing, NotFound, Result
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer


def test_a_blocking_client_does_all_of_it(served: RunningServer) -> None:
    told: list[int] = []
    with Client(served.address) as client:
        assert client.infer("FP32", {"x": [1, 2]}, request_id="mine").id == "mine"
        items = [{"x": [number, 0]} for number in range(30)]
        many = client.infer_many("FP32", iter(items), concurrency=4, progress=lambda done, _total: told.append(done))
        assert [result["y"][0, 0] for result in many] == list(range(30))
        assert told == list(range(1, 31))
        assert [result["y"][0, 0] for result in client.stream("FP32", items, max_in_flight=4)] == list(range(30))
        wrong = list(client.infer_many("gather", [{"ids": [0]}, {"ids": [99]}], errors="return"))
        assert isinstance(wrong[0], Result)
        assert isinstance(wrong[1], CallError)
        with pytest.raises(NotFound, match="unknown model 'nobody'"):
            client.infer("nobody", {"x": [1]})
        assert client.live()
        assert client.ready("FP32")
        assert client.server_metadata().name == "shoal"
        assert client.metadata("FP32").name == "FP32"
        assert client.config("FP32").name == "FP32"
        assert client.statistics("FP32")[0].rows > 0
        assert client.repository_index(ready=True)
        assert client.health()[0].healthy
        assert not client.renew_tls()
    client.close()
    assert "shoal-client" not in {thread.name for thread in threading.enumerate()}


def test_threads_share_a_blocking_client_and_their_rows_travel_together(served: RunningServer) -> None:
    with Client(served.address, coalescing=Coalescing(max_rows=16, max_delay_s=0.01)) as client:

        def one(number: int) -> tuple[float, int]:
            result = client.infer("FP32", {"x": np.full((1, 2), number, np.float32)})
            return float(result["y"][0, 0]), result.timings.rows_together

        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(one, range(200)))
    assert [value for value, _rows in outcomes] == list(range(200))
    assert max(rows for _value, rows in outcomes) > 1


def test_who_interrupts_a_blocking_call_cancels_it_at_the_server(served: RunningServer) -> None:
    with gated(served, "FP32") as gate, Client(served.address) as client:

        def interrupt() -> None:
            gate.wait_for_run()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            client.infer("FP32", {"x": np.ones((1, 2), np.float32)})
        interrupting.join()
        gate.open()
        assert client.infer("FP32", {"x": [1, 2]})["y"].tolist() == [[1, 2]]
