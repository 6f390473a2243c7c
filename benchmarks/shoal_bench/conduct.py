"""A scenario at a site: see that it can be run, run it, and put what it showed together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from shoal_bench.arrivals import Arrivals, Poisson, at_rate, end_s
from shoal_bench.measure import Meter, Progress, measure
from shoal_bench.order import Closed, Engine, Load, Order, Payload
from shoal_bench.payloads import Array, PayloadError, given, made_up
from shoal_bench.result import Ended, Run
from shoal_bench.scenario import Scenario, ScenarioError
from shoal_bench.site import Site
from shoal_bench.swap import Swap, swapper_for, swapping
from shoal_bench.tally import OK
from shoal_bench.target import INFER, Target, TargetError
from shoal_bench.watched import WatchedProcess

_DRAIN_EXTRA_S: Final = 1.0
_PROBE_WINDOWS: Final = 4
_PROBE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Conducted:
    """A run of a scenario. ``capacity_per_s``: what the closed loop before it showed, 0 without one."""

    scenario: Scenario
    target: str
    run: Run
    capacity_per_s: float = 0.0
    swaps: Sequence[Swap] = field(default_factory=tuple)

    @property
    def failure(self) -> str:
        """Why the run is no success; empty where it is one."""
        if self.run.ended not in (Ended.STABLE, Ended.LIMIT, Ended.INTERRUPTED):
            return self.run.reason
        everything = self.run.everything()
        if everything.ended and not everything.statuses[OK]:
            status, text = next(iter(everything.samples.items()))
            return f"no call succeeded; the first that failed was {status}: {text or 'no details'}"
        failed = [swap.error for swap in self.swaps if swap.error]
        return f"{len(failed)} of {len(self.swaps)} swaps failed: {failed[0]}" if failed else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        return {
            "scenario": self.scenario.to_json(),
            "target": self.target,
            "capacity_per_s": self.capacity_per_s,
            "swaps": [asdict(swap) for swap in self.swaps],
            **self.run.to_json(),
        }


class Conductor:
    """Runs loads of one scenario at one site. Blocking; the site's server stays up throughout."""

    def __init__(
        self,
        scenario: Scenario,
        site: Site,
        target: Target,
        engine: Engine,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        self._scenario = scenario
        self._site = site
        self._target = target
        self._engine = engine
        self._payloads = self._prepared(arrays)

    @property
    def engine(self) -> str:
        """The name of the load generator."""
        return self._engine.name

    @property
    def process(self) -> WatchedProcess | None:
        """The server's process, where it is known."""
        return self._site.process

    def run(self, progress: Progress) -> Conducted:
        """Run the scenario.

        Raises:
            ScenarioError: its rate follows from a capacity that could not be measured.
        """
        scenario, capacity = self._scenario, 0.0
        if scenario.of_capacity:
            capacity = self._capacity(progress)
            assert not isinstance(scenario.load, Closed), "read by the scenario's own check"
            scenario = replace(scenario, load=at_rate(scenario.load, capacity * scenario.of_capacity))
        if not scenario.swap_every_s:
            return Conducted(scenario, self._site.address, self.load(scenario.load, progress), capacity)
        swapper = swapper_for(self._target, scenario.models[0], self._site.repository)
        with swapping(swapper, scenario.swap_every_s) as swaps:
            run = self.load(scenario.load, progress)
        return Conducted(scenario, self._site.address, run, capacity, swaps)

    def load(self, load: Load, progress: Progress, windows: int | None = None, least_timeout_s: float = 0.0) -> Run:
        """Run one load with the scenario's requests, for at most so many windows (None: the scenario's limit).

        Each call has at least ``least_timeout_s`` seconds.

        Raises:
            ScenarioError: it is a trace of which the warm-up leaves nothing.
        """
        measuring = self._scenario.measuring
        see_that_it_outlasts(load, measuring.warm_up_s)
        timeout_s = max(measuring.timeout_s, least_timeout_s)
        if windows is None:
            last_s = min(measuring.limit_s, _end_s(load) - measuring.warm_up_s)
            windows = max(round(last_s / measuring.window_s), 1)
        order = Order(
            target=self._site.address,
            method=INFER,
            payloads=tuple(self._payloads),
            load=load,
            processes=measuring.processes,
            seed=measuring.seed,
            timeout_s=timeout_s,
            in_time_s=measuring.in_time_ms / 1e3,
            warm_up_s=measuring.warm_up_s,
            window_s=measuring.window_s,
            drain_s=timeout_s + _DRAIN_EXTRA_S,
            tls=self._target.tls,
        )
        return measure(
            order,
            self._engine,
            self._target,
            Meter(self._target, self._site.process, self._scenario.models),
            windows=windows,
            tolerance=None if measuring.until_limit else measuring.tolerance,
            progress=progress,
        )

    def _capacity(self, progress: Progress) -> float:
        # Whoever waits in this loop waits for the others: deadlines are for the run that follows.
        callers = Closed(self._scenario.capacity_concurrency)
        run = self.load(callers, progress, _PROBE_WINDOWS, least_timeout_s=_PROBE_TIMEOUT_S)
        if not run.ended.whole:
            raise ScenarioError(f"the capacity could not be measured: {run.reason}")
        if run.generator_limit:
            raise ScenarioError(
                f"the capacity could not be measured, since the load generator was the limit: {run.generator_limit}; "
                "give the rate by --rate, or a model that costs more"
            )
        if not run.measured().throughput:
            raise ScenarioError("the capacity could not be measured: no call succeeded")
        return run.measured().throughput

    def _prepared(self, arrays: Mapping[str, Array] | None) -> list[Payload]:
        """Make the payloads, and have the server take one of each request."""
        self._target.check()
        payloads: list[Payload] = []
        for index, request in enumerate(self._scenario.requests):
            metadata = self._target.metadata(request.model)
            seed = self._scenario.measuring.seed + index
            try:
                made = made_up(request, metadata, seed) if arrays is None else [given(request, metadata, arrays)]
            except PayloadError as error:
                raise TargetError(str(error)) from error
            self._target.try_out(made[0], max(self._scenario.measuring.timeout_s, 5.0))
            payloads += made
        return payloads


def rescaled(load: Load, rate: float) -> Arrivals:
    """Return the arrivals of a load at another rate; a closed loop has none, so its is Poisson's.

    Raises:
        ScenarioError: it has no rate that could be changed.
    """
    if isinstance(load, Closed):
        return Poisson(rate)
    try:
        return at_rate(load, rate)
    except ValueError as error:
        raise ScenarioError(str(error)) from error


def see_that_it_outlasts(load: Load, warm_up_s: float) -> None:
    """Refuse a trace that has ended before the first window begins.

    Raises:
        ScenarioError: it has.
    """
    if _end_s(load) < warm_up_s:
        raise ScenarioError(
            f"the trace lasts {_end_s(load):.4g} s, less than the warm-up of {warm_up_s:g} s: nothing would be "
            "measured; --warm-up-s makes that shorter"
        )


def _end_s(load: Load) -> float:
    return float("inf") if isinstance(load, Closed) else end_s(load)
