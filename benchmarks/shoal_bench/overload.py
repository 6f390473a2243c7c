"""`python -m shoal_bench.overload`: three times what a server can do, with deadlines, and what still comes of it.

Each round asks each server in turn for its capacity (a closed loop), its peak (an open loop a little above that), what
calls take at half of it, and then puts three times the capacity on it, which falls to half at once. The load comes from
the native generator, so a caller leaves at his deadline as real ones do. What counts are the ratios within a round.

A refusal costs CPU, too. With c for a call that is answered and r for one that is refused, all of the same CPUs, a
server that wastes nothing gives at three times its capacity (c - 3r) / (c - r) of what it gives at its peak. So that
this is about what a server refuses, and not about what it costs to be called, the generator has a CPU of its own and
the model takes 4 ms a row; with ``--shared``, and with a small model, r is a large part of c.
"""

import argparse
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

from shoal_bench.apart import Division, confined, divided, our_cpus, shared
from shoal_bench.arrivals import Burst, Poisson
from shoal_bench.engines import engine_named
from shoal_bench.lateness import starved_line
from shoal_bench.order import Closed, Engine, EngineError, Load, Order, Payload
from shoal_bench.payloads import made_up
from shoal_bench.peers.start import peer, version_of
from shoal_bench.positive import count, quantity
from shoal_bench.record import RecordError, load_average, machine, write
from shoal_bench.scenario import Request, ScenarioError
from shoal_bench.site import Site, our_own
from shoal_bench.tally import OK, REFUSED, Tally
from shoal_bench.target import INFER, Target, TargetError

_MODEL: Final = "convolutions"
_CALLERS: Final = 16
_ABOVE: Final = 1.2
_HALF: Final = 0.5
_WARM_UP_S: Final = 1.0
_PATIENCE_S: Final = 30.0
_PIECE_S: Final = 0.25
_BACK_WITHIN_S: Final = 1.0
_AFTER_S: Final = 3.0
_OURS: Final = "shoal"
_HEAD: Final = (
    "| server | capacity/s | goodput/s | over peak | wasted | refused, expired | refusals p50, p99 ms "
    "| p99 before, after ms | CPU us/call |"
)


@dataclass(frozen=True, slots=True)
class Options:
    """``times`` the capacity, which ``callers`` of a closed loop find, for ``seconds``; each call has ``deadline_s``.

    ``division`` says whose CPUs are whose.
    """

    model: str
    division: Division
    callers: int
    times: float
    deadline_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Course:
    """What one server did in one round; rates per second, times in milliseconds, None where the server does not tell.

    ``wasted``: the share of what it computed in the overload that nobody waited for any more; ``peak_per_s``: the most
    useful answers at any load that it was given; ``p99_before_ms`` and ``p99_after_ms``: at half the capacity, before
    the overload and from one second after it on; ``starved``: of the time in which the server's threads could run, the
    share in which they had no CPU. Where others want the CPUs, the figures are not the server's.
    """

    capacity_per_s: float
    peak_per_s: float
    goodput_per_s: float
    wasted: float | None
    refused: int
    expired: int
    refusal_p50_ms: float | None
    refusal_p99_ms: float | None
    p50_before_ms: float
    p99_before_ms: float
    p50_after_ms: float
    p99_after_ms: float
    failed_after: int
    generator_late_p99_ms: float
    cpu_us_per_call: float
    starved: float

    @property
    def share(self) -> float:
        """Goodput over peak."""
        return self.goodput_per_s / self.peak_per_s


class Subject:
    """A server under overload."""

    def __init__(self, site: Site, target: Target, engine: Engine, options: Options) -> None:
        self._site = site
        self._target = target
        self._engine = engine
        self._options = options
        target.check()
        self._payloads: Sequence[Payload] = made_up(Request(options.model), target.metadata(options.model), seed=0)
        target.try_out(self._payloads[0], _PATIENCE_S)

    def round(self, seed: int) -> Course:
        """Go through all loads once."""
        options = self._options
        seconds = options.seconds / 2
        closed = self._windows(Closed(options.callers), seed, _PATIENCE_S, seconds, 1)[1]
        capacity = closed.throughput
        if not capacity:
            raise TargetError(f"no call to {self._site.address} succeeded: {closed.samples}")
        above = self._windows(Poisson(_ABOVE * capacity), seed, options.deadline_s, seconds, 1)[1]
        before = self._windows(Poisson(_HALF * capacity), seed, options.deadline_s, seconds, 1)[1]
        load_s = _WARM_UP_S + options.seconds
        load = Burst(_HALF * capacity, options.times * capacity, load_s + _AFTER_S, load_s)
        executed, spent_s = self._executed(), self._spent_s()
        pieces = self._windows(load, seed, options.deadline_s, _PIECE_S, round((load_s + _AFTER_S - 1.5) / _PIECE_S))
        used_s, waited_s = (now - then for now, then in zip(self._spent_s(), spent_s, strict=True))
        if executed is not None:
            executed = (self._executed() or 0.0) - executed
        at_load = round(options.seconds / _PIECE_S)
        over = _together(pieces[1 : 1 + at_load])
        since = _together(pieces[1 + at_load :])
        after = _together(pieces[1 + at_load + round(_BACK_WITHIN_S / _PIECE_S) : -1])
        whole = _together(pieces)
        used = None if executed is None else max(executed - since.statuses[OK], 1)
        return Course(
            capacity,
            max(closed.goodput, above.goodput),
            over.goodput,
            None if executed is None or used is None else max(executed - whole.statuses[OK], 0.0) / used,
            over.statuses[REFUSED],
            over.statuses["DEADLINE_EXCEEDED"],
            over.refusals.percentile_s(0.5) * 1e3 if over.refusals.count else None,
            over.refusals.percentile_s(0.99) * 1e3 if over.refusals.count else None,
            before.latencies.percentile_s(0.5) * 1e3,
            before.latencies.percentile_s(0.99) * 1e3,
            after.latencies.percentile_s(0.5) * 1e3,
            after.latencies.percentile_s(0.99) * 1e3,
            after.ended - after.statuses[OK],
            over.lateness.percentile_s(0.99) * 1e3,
            used_s / max(whole.ended, 1) * 1e6,
            waited_s / max(waited_s + used_s, 1e-9),
        )

    def _windows(self, load: Load, seed: int, timeout_s: float, window_s: float, windows: int) -> list[Tally]:
        order = Order(
            target=self._site.address,
            method=INFER,
            payloads=tuple(self._payloads),
            load=load,
            processes=2,
            seed=seed,
            timeout_s=timeout_s,
            in_time_s=self._options.deadline_s,
            warm_up_s=_WARM_UP_S,
            window_s=window_s,
            drain_s=timeout_s + 1.0,
        )
        with self._engine.start(order) as running:
            return [*islice(running.windows(), windows + 1), running.stop()]

    def _executed(self) -> float | None:
        """Rows that the model has computed so far, whoever waited for them."""
        if self._site.metrics:
            return _counted(self._site.metrics)
        batches = self._target.batches([self._options.model])
        return None if batches is None else float(sum(one.rows * times for one, times in batches.items()))

    def _spent_s(self) -> tuple[float, float]:
        """CPU time, and time without a CPU, of the server so far."""
        assert self._site.process is not None, "it was started here"
        return self._site.process.cpu_s(), self._site.process.waited_s()


def _together(tallies: Sequence[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.then(tally)
    return whole


def _counted(url: str) -> float:
    """Return how many inferences MLServer has computed, by its own metrics."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of a server that was started here
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise TargetError(f"the metrics at {url} cannot be read: {error}") from error
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("model_infer_request_success_total"))


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure that has to be at least, or at most, so much; on the median over the rounds."""

    what: str
    read: Callable[[Course], float | None]
    limit: float
    at_least: bool = False


PROMISES: Final = (
    Promise("goodput over peak", lambda course: course.share, 0.95, at_least=True),
    Promise("share of executions that nobody waited for", lambda course: course.wasted, 0.01),
    Promise("p99 of refusals, ms", lambda course: course.refusal_p99_ms, 10.0),
    Promise(
        "p99 from one second after on, over that before",
        lambda course: course.p99_after_ms / course.p99_before_ms if course.p99_before_ms else None,
        1.5,
    ),
)


def lines(rounds: Sequence[Mapping[str, Course]]) -> list[str]:
    """Return a table of the medians over the rounds, and which promises Shoal kept."""
    if not rounds:
        return []
    found = [_HEAD, "|---" + "|---:" * 8 + "|"]
    for name in rounds[0]:
        courses = [one[name] for one in rounds]

        def middle(read: Callable[[Course], float | None], form: str, of: Sequence[Course] = courses) -> str:
            values = [value for course in of if (value := read(course)) is not None]
            return format(median(values), form) if values else "-"

        found.append(
            f"| {name} | {middle(lambda c: c.capacity_per_s, '.0f')} | {middle(lambda c: c.goodput_per_s, '.0f')} "
            f"| {middle(lambda c: c.share, '.2f')} | {middle(lambda c: c.wasted, '.2%')} "
            f"| {middle(lambda c: c.refused, '.0f')}, {middle(lambda c: c.expired, '.0f')} "
            f"| {middle(lambda c: c.refusal_p50_ms, '.2f')}, {middle(lambda c: c.refusal_p99_ms, '.2f')} "
            f"| {middle(lambda c: c.p99_before_ms, '.1f')}, {middle(lambda c: c.p99_after_ms, '.1f')} "
            f"| {middle(lambda c: c.cpu_us_per_call, '.0f')} |"
        )
    starved = max(one[name].starved for one in rounds for name in one)
    if line := starved_line(starved):
        found.append(line)
    for promise in PROMISES:
        values = [value for one in rounds if (value := promise.read(one[_OURS])) is not None]
        if not values:
            found.append(f"{promise.what}: nothing was seen of it")
            continue
        kept = median(values) >= promise.limit if promise.at_least else median(values) <= promise.limit
        sign = ">=" if promise.at_least else "<="
        found.append(
            f"{promise.what}: median {median(values):.4g}, {min(values):.4g} to {max(values):.4g} in {len(values)} "
            f"rounds; target {sign} {promise.limit:g}: {'met' if kept else 'MISSED'}"
        )
    return found


def measure(
    options: Options, mlserver: Path | None, rounds: int, progress: Callable[[str], None]
) -> list[dict[str, Course]]:
    """Start the servers, and go through the rounds; Ctrl-C ends them, and what was measured is returned."""
    courses: list[dict[str, Course]] = []
    engine = engine_named("native")
    with ExitStack() as stack:
        with confined(options.division.servers):
            ours = stack.enter_context(our_own([options.model]))
            sites = {_OURS: ours}
            if mlserver is not None:
                assert ours.repository is not None, "it was started here"
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                sites["mlserver"] = stack.enter_context(
                    peer("mlserver", mlserver, ours.repository, [options.model], scratch)
                )
        stack.enter_context(confined(options.division.generator))
        subjects = {
            name: Subject(site, stack.enter_context(Target(site.address)), engine, options)
            for name, site in sites.items()
        }
        try:
            for number in range(1, rounds + 1):
                began_s = time.monotonic()
                courses.append({name: subject.round(number) for name, subject in subjects.items()})
                shares = ", ".join(f"{name} {course.share:.2f} of its peak" for name, course in courses[-1].items())
                progress(f"round {number} of {rounds}: {shares} ({time.monotonic() - began_s:.0f} s)")
        except KeyboardInterrupt:
            progress("stopped by hand")
    return courses


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line, measure, print, and write the record if one is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.overload", description=__doc__)
    parser.add_argument("--model", default=_MODEL, help=f"one of the benchmarks' (default {_MODEL})")
    parser.add_argument("--shared", action="store_true", help="let the generator use the servers' CPUs")
    parser.add_argument(
        "--callers", type=count, default=_CALLERS, metavar="N", help=f"who ask for the capacity (default {_CALLERS})"
    )
    parser.add_argument("--times", type=quantity, default=3.0, metavar="X", help="of the capacity (default 3)")
    parser.add_argument("--deadline-ms", type=quantity, default=100.0, metavar="MS", help="of each call (default 100)")
    parser.add_argument("--seconds", type=quantity, default=5.0, metavar="S", help="of overload each round (default 5)")
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="over all servers (default 3)")
    parser.add_argument("--mlserver", type=Path, metavar="VENV", help="the environment in which MLServer is installed")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep all figures as JSON")
    given = parser.parse_args()
    division = shared(our_cpus()) if given.shared else divided(our_cpus())
    options = Options(given.model, division, given.callers, given.times, given.deadline_ms / 1e3, given.seconds)
    about = machine()
    try:
        rounds = measure(options, given.mlserver, given.rounds, _say)
        for line in lines(rounds):
            _say(line)
        if given.record:
            content = {
                "machine": about,
                "load_average_after": load_average(),
                "options": asdict(options),
                "peers": {"mlserver": version_of("mlserver", given.mlserver)} if given.mlserver else {},
                "partial": len(rounds) < given.rounds,
                "series": {f"{_OURS}/goodput_over_peak": [one[_OURS].share for one in rounds]},
                "rounds": [{name: asdict(course) for name, course in one.items()} for one in rounds],
            }
            write(given.record, "overload", content)
    except (EngineError, TargetError, ScenarioError, RecordError) as error:
        sys.stderr.write(f"shoal_bench.overload: {error}\n")
        return 1
    return 0 if len(rounds) == given.rounds else 130


if __name__ == "__main__":
    sys.exit(main())
