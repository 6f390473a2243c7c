"""`python -m shoal_bench.fairness`: what a quiet caller notices of one who floods, and how long the last level waits.

Callers are known by their certificates. The quiet one sends a tenth of what the server can do, beside another who sends
half of it, and then three times it, without regard to what comes back. At equal weights only the other is to suffer.
Then one caller sends requests of three priorities, more than can be answered of the first two together, which by
themselves would keep the third waiting until the load is over; it is to be answered within its bound: what ages the
levels, and what the line holds. The generator has a CPU of its own, as in `overload`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.apart import confined, divided, our_cpus
from shoal_bench.arrivals import Poisson
from shoal_bench.engines import engine_named
from shoal_bench.lateness import starved_line
from shoal_bench.models import write_models
from shoal_bench.order import Closed, EngineError, Load, Order, Payload
from shoal_bench.payloads import made_up
from shoal_bench.positive import count, quantity
from shoal_bench.record import RecordError, load_average, machine, write
from shoal_bench.scenario import Request
from shoal_bench.secure import Tls
from shoal_bench.tally import Tally
from shoal_bench.target import INFER, Target, TargetError
from shoal_bench.watched import ServerFailed, WatchedProcess, own_server

_MODEL: Final = "convolutions"
_QUIET, _OTHER = "quiet", "other"
_LEVELS: Final = 3
_AGING_MS: Final = 20.0
_TIMEOUT_S: Final = 2.0
_PATIENCE_S: Final = 20.0
"""Of callers with priorities: nobody comes near it, so that what they wait is not cut off there."""
_ABOVE: Final = 1.2
_WEIGHTS: Final = (0.5, 0.45, 0.05)
_WARM_UP_S: Final = 0.5
_CALLERS: Final = 64
_MOVED: Final = 1.20
_ROWS: Final = 1
"""Of a batch: whoever comes waits for the one that runs, and this model gains next to nothing by larger ones."""
_OPTIONS: Final = f"[batching]\nmax_rows = {_ROWS}\npriority_levels = {_LEVELS}\naging_ms = {_AGING_MS}\n"


@dataclass(slots=True)
class Figures:
    """All rounds together. ``beside``: the quiet caller's calls, by what the other did; ``levels``: by priority.

    ``starved``: of the time in which the server's threads could run, the share in which they had no CPU, by round.
    """

    capacity_per_s: list[float] = field(default_factory=list)
    beside: dict[str, Tally] = field(default_factory=dict)
    others: dict[str, Tally] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)
    levels: Tally = field(default_factory=Tally)
    starved: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return them as a record holds them."""
        return {
            "capacity_per_s": self.capacity_per_s,
            "quiet": {name: tally.to_json() for name, tally in self.beside.items()},
            "other": {name: tally.to_json() for name, tally in self.others.items()},
            "priorities": self.levels.to_json(),
            "starved": self.starved,
        }


class Bench:
    """A server, and callers with certificates of their own."""

    def __init__(self, process: WatchedProcess, address: str, secrets: Path) -> None:
        self._process = process
        self._address = address
        self._tls = {name: _tls(secrets, name) for name in (_QUIET, _OTHER)}
        with Target(address, tls=self._tls[_QUIET]) as target:
            target.check()
            self._payloads = made_up(Request(_MODEL), target.metadata(_MODEL), seed=0)

    def round(self, seed: int, seconds: float, figures: Figures) -> None:
        """Go through all loads once, and add what was seen."""
        capacity = self._seen(_OTHER, Closed(_CALLERS), seed, seconds).throughput
        if not capacity:
            raise TargetError("no call succeeded in the closed loop that asks for the capacity")
        figures.capacity_per_s.append(capacity)
        cpu_s, waited_s = self._process.cpu_s(), self._process.waited_s()
        p99s = {}
        loads = {"alone": 0.0, "its share": 0.5, "a flood": 3.0}
        for name, times in loads.items():
            with ThreadPoolExecutor(2) as both:
                quiet = both.submit(self._seen, _QUIET, Poisson(0.1 * capacity), seed, seconds)
                other = both.submit(self._seen, _OTHER, Poisson(times * capacity), seed, seconds) if times else None
                figures.beside.setdefault(name, Tally()).then(quiet.result())
                if other is not None:
                    figures.others.setdefault(name, Tally()).then(other.result())
                p99s[name] = quiet.result().latencies.percentile_s(0.99)
        used_s, waited_s = self._process.cpu_s() - cpu_s, self._process.waited_s() - waited_s
        figures.starved.append(waited_s / max(used_s + waited_s, 1e-9))
        figures.ratios.append(p99s["a flood"] / max(p99s["its share"], 1e-6))
        figures.levels.then(
            self._seen(_OTHER, Poisson(_ABOVE * capacity), seed, seconds, self._of_levels(), timeout_s=_PATIENCE_S)
        )

    def _of_levels(self) -> tuple[Payload, ...]:
        payloads = []
        for level, weight in zip(range(1, _LEVELS + 1), _WEIGHTS, strict=True):
            request = pb.ModelInferRequest.FromString(self._payloads[0].message)
            request.parameters["priority"].uint64_param = level
            payloads.append(Payload(request.SerializeToString(), f"priority {level}", weight))
        return tuple(payloads)

    def _seen(  # noqa: PLR0913 - the parts of an order
        self,
        caller: str,
        load: Load,
        seed: int,
        seconds: float,
        payloads: Sequence[Payload] = (),
        *,
        timeout_s: float = 0.0,
    ) -> Tally:
        """Return what was seen after the warm-up; with a ``timeout_s``, which each call has, what ended later, too."""
        order = Order(
            target=self._address,
            method=INFER,
            payloads=tuple(payloads or self._payloads),
            load=load,
            processes=1,
            seed=seed,
            timeout_s=timeout_s or _TIMEOUT_S,
            in_time_s=timeout_s or _TIMEOUT_S,
            warm_up_s=_WARM_UP_S,
            window_s=seconds,
            drain_s=(timeout_s or _TIMEOUT_S) + 1,
            tls=self._tls[caller],
        )
        with engine_named("native").start(order) as running:
            seen = list(islice(running.windows(), 2))[1]
            tail = running.stop()
        if timeout_s:
            seen.then(tail)
        return seen


def _tls(secrets: Path, name: str) -> Tls:
    ca, certificate, key = ((secrets / file).read_bytes() for file in ("ca.pem", f"{name}.pem", f"{name}.key"))
    return Tls(ca, certificate, key, "localhost")


@contextmanager
def served() -> Iterator[Bench]:
    """Run a server that knows two callers by their certificates.

    Raises:
        ServerFailed: it does not start.
        TargetError: it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as scratch:
        models, secrets = Path(scratch) / "models", Path(scratch) / "secrets"
        write_models(models, [_MODEL])
        (models / _MODEL / "model.toml").write_text(_OPTIONS)
        make = [sys.executable, "-m", "shoal_server", "certs", "dev", str(secrets)]
        for client in (_QUIET, _OTHER):
            make += ["--client", client]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command line
        own = {"tls-certificate": "server.pem", "tls-key": "server.key", "tls-client-ca": "ca.pem"}
        flags = [f"--{flag}={secrets / file}" for flag, file in own.items()]
        division = divided(our_cpus())
        with ExitStack() as stack:
            with confined(division.servers):
                process, address = stack.enter_context(own_server(models, *flags, "--callers-by", "identity"))
            stack.enter_context(confined(division.generator))
            yield Bench(process, address, secrets)


def lines(figures: Figures) -> list[str]:
    """Return what was seen, and which promises were kept."""
    found = []
    for name, tally in figures.beside.items():
        statuses = ", ".join(f"{status} {times}" for status, times in tally.statuses.most_common())
        found.append(
            f"quiet caller beside {name:9}: p50 {tally.latencies.percentile_s(0.5) * 1e3:.2f}, "
            f"p99 {tally.latencies.percentile_s(0.99) * 1e3:.2f} ms; {statuses}"
        )
    for name, tally in figures.others.items():
        statuses = ", ".join(f"{status} {times}" for status, times in tally.statuses.most_common())
        found.append(f"the other with {name:9}: {statuses}")
    if {"its share", "a flood"} <= set(figures.beside):
        p99s = [figures.beside[name].latencies.percentile_s(0.99) for name in ("its share", "a flood")]
        moved = p99s[1] / max(p99s[0], 1e-6)
        if line := starved_line(max(figures.starved)):
            found.append(line)
        found.append(
            f"the quiet caller's p99 beside a flood, over that beside its share: {moved:.2f} over all rounds "
            f"({min(figures.ratios):.2f} to {max(figures.ratios):.2f} by round); "
            f"target < {_MOVED:.2f}: {'met' if moved < _MOVED else 'MISSED'}"
        )
    for level, latencies in sorted(figures.levels.by_model.items()):
        found.append(
            f"{level}: {latencies.count} OK, p50 {latencies.percentile_s(0.5) * 1e3:.1f}, longest "
            f"{latencies.max_s * 1e3:.1f} ms"
        )
    return found


def bound_line(figures: Figures) -> str:
    """Return whether the last priority's longest wait is within its bound.

    It goes before whoever came ``aging_ms`` later for each level between them. So what may go before it is what the
    first priority may have sent in twice that time beside a line as long as the longest of the first priority's.
    """
    first, last = (figures.levels.by_model.get(f"priority {level}") for level in (1, _LEVELS))
    if first is None or last is None or not last.count:
        return "nothing was answered of the last priority: MISSED"
    if first.max_s > _PATIENCE_S / 2:
        return "the first priority waited nearly to its deadline, so this says nothing of the last: MISSED"
    bound_ms = first.max_s * 1e3 + (_LEVELS - 1) * _AGING_MS
    met = last.max_s * 1e3 <= bound_ms * 1.1
    return (
        f"the last priority's longest wait: {last.max_s * 1e3:.1f} ms; bound, the first's longest and "
        f"{_LEVELS - 1} x {_AGING_MS:g} ms: {bound_ms:.1f} ms: {'met' if met else 'MISSED'}"
    )


def measure(rounds: int, seconds: float, progress: Callable[[str], None]) -> Figures:
    """Run the server, and the rounds against it; Ctrl-C ends them, and what was measured is returned."""
    figures = Figures()
    with served() as bench:
        try:
            for number in range(1, rounds + 1):
                bench.round(number, seconds, figures)
                progress(f"round {number} of {rounds}: the quiet caller's p99 moved by {figures.ratios[-1] - 1:+.0%}")
        except KeyboardInterrupt:
            progress("stopped by hand")
    return figures


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line, measure, print, and write the record if one is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.fairness", description=__doc__)
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="rounds over all loads (default 3)")
    parser.add_argument("--seconds", type=quantity, default=8.0, metavar="S", help="of each load (default 8)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep all figures as JSON")
    given = parser.parse_args()
    about = machine()
    try:
        figures = measure(given.rounds, given.seconds, _say)
        for line in (*lines(figures), bound_line(figures)):
            _say(line)
        if given.record:
            content = {
                "machine": about,
                "load_average_after": load_average(),
                "options": {"rounds": given.rounds, "seconds": given.seconds},
                "partial": len(figures.ratios) < given.rounds,
                "series": {"flood_over_share_p99": figures.ratios},
                "figures": figures.to_json(),
            }
            write(given.record, "fairness", content)
    except (EngineError, TargetError, ServerFailed, RecordError) as error:
        sys.stderr.write(f"shoal_bench.fairness: {error}\n")
        return 1
    return 0 if len(figures.ratios) == given.rounds else 130


if __name__ == "__main__":
    sys.exit(main())
