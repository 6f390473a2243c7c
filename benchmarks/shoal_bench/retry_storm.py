"""`python -m shoal_bench.retry_storm`: do callers who try again keep an overload alive?

Clients with a retry policy offer half of what the server can do, then three times that, then half again, each for some
seconds; in turn stock clients of grpcio (a service config, four attempts, no throttling) and Shoal's own. The server
counts what reaches it. A second peak is attempts, after the load has fallen and a second has passed, beyond what came
before it. Every server says by `grpc-retry-pushback-ms` when a retry may help; both clients obey.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import grpc
import grpc.aio
import numpy as np

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.arrivals import Poisson, offsets
from shoal_bench.caller import CHANNEL_OPTIONS
from shoal_bench.histogram import Durations
from shoal_bench.load import closed_loop
from shoal_bench.models import write_models
from shoal_bench.pacer import Pacer
from shoal_bench.peers.start import free_ports
from shoal_bench.positive import count, quantity
from shoal_bench.record import RecordError, load_average, machine, write
from shoal_bench.target import INFER, TargetError
from shoal_bench.watched import ServerFailed, own_server
from shoal_client import AsyncClient, CallError

_MODEL: Final = "medium"
_ROWS: Final = 8  # a request that costs the server ten times what it costs a client in Python
_COLUMNS: Final = 64
_CALLERS: Final = 64
_HALF: Final = 0.5
_TIMES: Final = 3.0
_DEADLINE_S: Final = 1.0
_ASKED_PER_S: Final = 200
"""Calls that ask for the capacity, for each second of a load: 600 of them where loads last for 3 s."""
_PATIENCE_S: Final = 60.0
"""Of those who ask for the capacity: none of them is to be refused, however slow the machine is."""
_BACK_WITHIN_S: Final = 1.0
_MOST_AGAIN: Final = 1.2
_COUNTER: Final = "rpc_server_call_duration_seconds_count"
_POLICY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
_SERVICE_CONFIG: Final = json.dumps(
    {"methodConfig": [{"name": [{"service": "inference.GRPCInferenceService"}], "retryPolicy": _POLICY}]}
)

Call = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Phase:
    """A load, what it offered and what reached the server, per second, and how calls ended that were sent in it."""

    offered_per_s: float
    attempts_per_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: Durations = field(default_factory=Durations)

    @property
    def p99_ms(self) -> float:
        """Of the calls that were OK."""
        return self.latencies.percentile_s(0.99) * 1e3

    def to_json(self) -> dict[str, object]:
        """Return it as a record holds it."""
        return {
            "offered_per_s": self.offered_per_s,
            "attempts_per_s": self.attempts_per_s,
            "statuses": dict(self.statuses),
            "latencies": self.latencies.to_text(),
        }


@dataclass(frozen=True, slots=True)
class Storm:
    """One client's round. ``settling`` is the first second after the storm, ``after`` the time from then on."""

    before: Phase
    storm: Phase
    settling: Phase
    after: Phase

    @property
    def again(self) -> float:
        """Attempts per offered call after the storm, over those before it."""
        before = self.before.attempts_per_s / self.before.offered_per_s
        return self.after.attempts_per_s / self.after.offered_per_s / max(before, 1e-9)


class Bench:
    """A server, its counter, and both clients."""

    def __init__(self, metrics: str, patient: Call, calls: dict[str, Call], seconds: float) -> None:
        self._metrics = metrics
        self._patient = patient
        self._calls = calls
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    async def round(self, seed: int) -> dict[str, Storm]:
        """Put the loads on the server by each client in turn."""
        capacity = (
            await closed_loop(self._patient, max(2 * _CALLERS, round(_ASKED_PER_S * self._seconds)), _CALLERS)
        ).rate
        return {name: await self._storm(call, capacity, seed) for name, call in self._calls.items()}

    async def _storm(self, call: Call, capacity: float, seed: int) -> Storm:
        phases = []
        for times, seconds in (
            (_HALF, self._seconds),
            (_TIMES, self._seconds),
            (_HALF, _BACK_WITHIN_S),
            (_HALF, self._seconds),
        ):
            phases.append(await self._phase(call, times * capacity, seconds, seed))
        while self._tasks:
            await asyncio.wait(self._tasks)
        return Storm(*phases)

    async def _phase(self, call: Call, rate: float, seconds: float, seed: int) -> Phase:
        phase, sent = Phase(0.0), 0
        seen = await asyncio.to_thread(attempts, self._metrics)
        began_s = time.monotonic()
        with Pacer() as pacer:
            for offset_s in offsets(Poisson(rate), seed):
                if offset_s >= seconds:
                    break
                await pacer.until(began_s + offset_s)
                sent += 1
                task = asyncio.create_task(_made(call, began_s + offset_s, phase))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                if time.monotonic() - began_s - offset_s > 0.01:  # noqa: PLR2004 - behind, answers must still be seen
                    await asyncio.sleep(0)
            await pacer.until(began_s + seconds)
        took_s = time.monotonic() - began_s
        phase.offered_per_s = sent / took_s
        phase.attempts_per_s = (await asyncio.to_thread(attempts, self._metrics) - seen) / took_s
        return phase


async def _made(call: Call, due_s: float, phase: Phase) -> None:
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        phase.statuses[error.code().name] += 1
    except CallError as error:
        phase.statuses[error.status] += 1
    else:
        phase.statuses["OK"] += 1
        phase.latencies.record(time.monotonic() - due_s)


def attempts(url: str) -> float:
    """Return how many calls of ModelInfer have ended at the server, as it tells Prometheus.

    Raises:
        TargetError: it does not tell.
    """
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of the server that was started here
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise TargetError(f"the metrics at {url} cannot be read: {error}") from error
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(_COUNTER) and '/ModelInfer"' in line)


@asynccontextmanager
async def served(seconds: float) -> AsyncIterator[Bench]:
    """Run a server and connect both clients.

    Raises:
        ServerFailed: the server does not start.
    """
    rows = np.random.default_rng(0).uniform(0, 1, (_ROWS, _COLUMNS)).astype(np.float32)
    request = pb.ModelInferRequest(model_name=_MODEL, raw_input_contents=[rows.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=rows.shape)
    message = request.SerializeToString()
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as scratch:
        write_models(Path(scratch), [_MODEL])
        with own_server(Path(scratch), "--telemetry-prometheus", f"127.0.0.1:{port}") as (_process, address):
            options = (*CHANNEL_OPTIONS, ("grpc.service_config", _SERVICE_CONFIG))
            async with grpc.aio.insecure_channel(address, options=options) as channel, AsyncClient(address) as client:
                method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)

                def by_shoal(timeout_s: float) -> Awaitable[object]:
                    return client.infer(_MODEL, {"input": rows}, timeout_s=timeout_s)

                calls: dict[str, Call] = {
                    "grpcio": lambda: method(message, timeout=_DEADLINE_S),
                    "shoal": lambda: by_shoal(_DEADLINE_S),
                }
                yield Bench(f"http://127.0.0.1:{port}/metrics", lambda: by_shoal(_PATIENCE_S), calls, seconds)


async def measure(rounds: int, seconds: float, progress: Callable[[str], None]) -> list[dict[str, Storm]]:
    """Run the server, and the rounds against it."""
    async with served(seconds) as bench:
        found = []
        for number in range(1, rounds + 1):
            found.append(await bench.round(number))
            progress(
                f"round {number} of {rounds}, attempts per call after the storm over those before: "
                + ", ".join(f"{name} {storm.again:.2f}" for name, storm in found[-1].items())
            )
        return found


def lines(rounds: Sequence[dict[str, Storm]]) -> list[str]:
    """Return each client's calls and attempts, medians over the rounds, and whether a second peak was seen."""
    found = [f"{'':18}{'offered/s':>11}{'attempts/s':>12}{'OK':>7}{'p99 ms':>9}"]
    for name in rounds[0]:
        for part in ("before", "storm", "settling", "after"):
            phases: list[Phase] = [getattr(one[name], part) for one in rounds]
            share = median(one.statuses["OK"] / max(one.statuses.total(), 1) for one in phases)
            found.append(
                f"{name + ' ' + part:18}{median(one.offered_per_s for one in phases):11.0f}"
                f"{median(one.attempts_per_s for one in phases):12.0f}{share:7.0%}"
                f"{median(one.p99_ms for one in phases):9.1f}"
            )
    for name in rounds[0]:
        values = [one[name].again for one in rounds]
        met = "met" if median(values) <= _MOST_AGAIN else "MISSED"
        found.append(
            f"{name}: attempts per call from one second after the storm on, over those before it: median "
            f"{median(values):.2f}, {min(values):.2f} to {max(values):.2f}; target <= {_MOST_AGAIN}: {met}"
        )
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line, measure, print, and write the record if one is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.retry_storm", description=__doc__)
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="rounds, both clients in turn (default 3)")
    parser.add_argument("--seconds", type=quantity, default=3.0, metavar="S", help="of each load (default 3)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep all figures as JSON")
    given = parser.parse_args()
    about = machine()
    try:
        rounds = asyncio.run(measure(given.rounds, given.seconds, _say))
        for line in lines(rounds):
            _say(line)
        if given.record:
            parts = ("before", "storm", "settling", "after")
            content = {
                "machine": about,
                "load_average_after": load_average(),
                "options": {"rounds": given.rounds, "seconds": given.seconds, "policy": _POLICY},
                "series": {
                    f"{name}/attempts_after_over_before": [one[name].again for one in rounds] for name in rounds[0]
                },
                "rounds": [
                    {name: {part: getattr(storm, part).to_json() for part in parts} for name, storm in one.items()}
                    for one in rounds
                ],
            }
            write(given.record, "retry_storm", content)
    except (ServerFailed, TargetError, RecordError, CallError) as error:
        sys.stderr.write(f"shoal_bench.retry_storm: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
