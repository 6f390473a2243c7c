"""What happens in one simulation, drawn from a seed: pure data, to be read, cut down and repeated."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from random import Random

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import (
    AdmissionOptions,
    AnswerOptions,
    BatchingOptions,
    CallerOptions,
    FairnessOptions,
    LengthOptions,
    QuotaOptions,
    VariableInput,
)
from shoal_testing.fake_model import PAD, Kind, Poison

HORIZON_S = 4.0  # requests come and models change within these seconds
BIAS = 7  # what is sent as the optional input
_AILING = 0.15  # of scenarios have a model that hangs most of the time
_VARYING = 0.3  # of models whose rows are independent
_QUICK = 0.2  # of scenarios have batches that the loop runs itself
_HANGING = 0.8  # of its requests hang
LIMIT_S = 3.0  # of an execution; more than the longest honest one


@dataclass(frozen=True)
class ModelPlan:
    """One model: what it is, how it is served and how fast it runs."""

    name: str
    kind: Kind
    answers: AnswerOptions
    versions: tuple[int, ...]
    batching: BatchingOptions
    instances: int
    run_s: float
    row_s: float
    obeys: bool
    """Whether it ends early where it is interrupted."""
    latest: int
    """How many of its versions its owner wants served; 0 for all."""


@dataclass(frozen=True)
class Arrival:
    """One request. Those of one instant come in one list."""

    at_s: float
    number: int
    model: str
    version: str
    rows: int
    width: int
    size_bytes: int
    within_s: float | None
    timeout_s: float | None
    cancel_after_s: float | None
    poison: Poison | None
    bias: bool
    malformed: bool
    breaks_encoder: bool
    priority: int
    caller: str


class Change(Enum):
    """What an operator does to a model."""

    LOAD = auto()
    UNLOAD = auto()
    TOUCH = auto()  # the files are written anew
    PUBLISH = auto()  # one more version
    RETIRE = auto()  # the lowest version is deleted
    ROLL_BACK = auto()  # the highest version is deleted
    GARBLE = auto()  # the highest version is half written
    TUNE = auto()  # other options
    SPOIL = auto()  # loads fail from now on
    CRASH = auto()  # loads raise what nobody expects
    STALL = auto()  # loads never end
    MEND = auto()
    SWAP = auto()  # from here on: operations on one version
    LOAD_VERSION = auto()
    UNLOAD_VERSION = auto()
    ROLL_BACK_SWAP = auto()
    LABEL = auto()
    FILL_DISK = auto()  # nothing can be recorded from now on
    EMPTY_DISK = auto()


OPERATIONS = {Change.SWAP, Change.LOAD_VERSION, Change.UNLOAD_VERSION, Change.ROLL_BACK_SWAP, Change.LABEL}


@dataclass(frozen=True)
class Operation:
    """A change, after which the model is loaded anew unless it is a change of what serves; its caller may leave.

    ``version``, ``keep_warm_s``, ``dry_run`` and ``force`` are those of operations on one version.
    """

    at_s: float
    model: str
    change: Change
    cancel_after_s: float | None
    version: int
    keep_warm_s: float
    dry_run: bool
    force: bool


@dataclass(frozen=True)
class Scenario:
    """All of one simulation. The ``_gap_s`` are upper bounds of random delays."""

    seed: int
    models: tuple[ModelPlan, ...]
    arrivals: tuple[Arrival, ...]
    operations: tuple[Operation, ...]
    slots: int
    admission: AdmissionOptions
    start_gap_s: float
    done_gap_s: float
    answer_gap_s: float
    load_gap_s: float
    write_gap_s: float
    state_required: bool
    tick_s: float
    shutdown_at_s: float
    callers: CallerOptions | None
    quick_share: float
    """Of the batches that might be answered at once, those that are known to be quick."""
    slow_s: float = field(default=2 * LIMIT_S)

    @property
    def fairness(self) -> FairnessOptions | None:
        """Weights between callers, None where they are not told apart."""
        return self.callers.fairness if self.callers else None


def drawn(seed: int) -> Scenario:
    """Draw a scenario; each seed has its own bounds, speeds and troubles."""
    random = Random(seed)
    # What is newer is drawn apart, so that seeds go on to play out what they are known for.
    apart = Random(~seed)
    models = tuple(_model(random, index, apart) for index in range(random.choice([1, 1, 2, 3, 4])))
    tight = random.random() < 0.3
    trouble = random.choice([0.0, 0.02, 0.02, 0.1, 0.1, 0.4])
    busy = random.choice([20, 40, 80, 120])
    arrivals = _arrivals(random, models, busy, trouble)
    callers = CallerOptions(
        fairness=FairnessOptions({"flood": 0.5, "third": 2.0}),
        quotas={"flood": QuotaOptions(concurrency=apart.choice([0, 0, 1, 5]))},
    )
    scenario = Scenario(
        seed=seed,
        models=models,
        arrivals=_repeated(
            apart,
            [
                replace(
                    one,
                    priority=apart.randint(0, 4),
                    caller=apart.choice(["flood"] * 6 + ["quiet", "third", ""]),
                    rows=one.rows * apart.choice([1, 1, 1, 1, 4]) if one.rows > 2 else one.rows,
                )
                for one in arrivals
            ],
        ),
        operations=_operations(random, models) if random.random() < 0.6 else (),
        slots=random.choice([1, 1, 2, 4]),
        admission=AdmissionOptions(random.randint(1, 30), random.randint(5, 100), random.randint(500, 5000))
        if tight
        else AdmissionOptions(),
        start_gap_s=random.choice([0.0, 0.0, 0.002, 0.02]),
        done_gap_s=random.choice([0.0, 0.0, 0.002, 0.02, 2 * LIMIT_S]),
        answer_gap_s=random.choice([0.0, 0.0, 0.0, 0.003]),
        load_gap_s=random.choice([0.0, 0.05, 0.5]),
        write_gap_s=random.choice([0.0, 0.01, 0.1]),
        state_required=random.random() < 0.5,
        tick_s=random.choice([0.0, 0.0, 0.001]),
        shutdown_at_s=HORIZON_S * random.choice([random.random(), 1.0, 2.0, 2.0]),
        callers=apart.choice([None, None, callers]),
        quick_share=0.0,
    )
    if random.random() < _AILING:
        scenario = _ailing(random, scenario)
    # The same content does the same to a model, whoever sent it.
    poisons = {one.number: one.poison for one in scenario.arrivals if one.poison is not None}
    arrivals = tuple(replace(one, poison=poisons.get(one.number)) for one in scenario.arrivals)
    return _quick(Random(seed * 3 + 2), _of_many_lengths(Random(seed * 2 + 1), replace(scenario, arrivals=arrivals)))


def _repeated(random: Random, arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    """Have some ask for what somebody asked for shortly before."""
    share = random.choice([0.0, 0.0, 0.3, 0.6])
    for index in range(1, len(arrivals)):
        if random.random() < share:
            same = arrivals[max(index - random.randint(1, 4), 0)]
            arrivals[index] = replace(
                arrivals[index],
                number=same.number,
                model=same.model,
                rows=same.rows,
                width=same.width,
                bias=same.bias,
                poison=same.poison,
                caller=random.choice([same.caller, arrivals[index].caller]),
                priority=random.choice([same.priority, arrivals[index].priority]),
            )
    return tuple(arrivals)


def _of_many_lengths(newest: Random, scenario: Scenario) -> Scenario:
    """Have some models declare that the length of their rows varies, and requests of many lengths come to them."""
    varying = {model.name for model in scenario.models if model.kind is Kind.ROWS and newest.random() < _VARYING}

    def declared(model: ModelPlan) -> ModelPlan:
        edges = newest.choice([(), (), (2, 5, 9)])
        lengths = LengthOptions(
            {"x": VariableInput(1, PAD)}, {"y": 1}, newest.choice([0, 0, 10]), newest.choice([0, 0, 6, 40]), edges
        )
        batching = replace(model.batching, lengths=lengths)
        return replace(model, kind=Kind.LENGTHS, batching=batching, row_s=newest.choice([0.0, 0.0001, 0.0005]))

    widths = {one.number: newest.choice([0, *range(1, 13)]) for one in scenario.arrivals}
    return replace(
        scenario,
        models=tuple(declared(model) if model.name in varying else model for model in scenario.models),
        arrivals=tuple(
            replace(one, width=widths[one.number]) if one.model in varying else one for one in scenario.arrivals
        ),
    )


def _quick(random: Random, scenario: Scenario) -> Scenario:
    """Have some batches be quick, and many requests come together and ask alike."""
    if random.random() >= _QUICK:
        return scenario
    forms = {one.number: (random.choice([1, 1, 2]), 1) for one in scenario.arrivals if random.random() < 0.8}
    arrivals: list[Arrival] = []
    for arrival in scenario.arrivals:
        one = replace(arrival, bias=False)
        if one.number in forms:
            rows, width = forms[one.number]
            one = replace(one, rows=rows, width=width, version="", timeout_s=None, priority=0)
            one = replace(one, within_s=random.choice([None, None, one.within_s]))
        if arrivals and random.random() < 0.6:
            one = replace(one, at_s=arrivals[-1].at_s)
        arrivals.append(one)

    def simple(model: ModelPlan) -> ModelPlan:
        lively = replace(model.batching, delay_s=0.0, adaptive_limit=False, lengths=None)
        kind = model.kind if model.kind in {Kind.MIXING, Kind.LYING} else random.choice([Kind.ROWS] * 4 + [Kind.MIXING])
        instances = random.choice([1, model.instances])
        return replace(model, kind=kind, answers=AnswerOptions(), batching=lively, instances=instances)

    return replace(
        scenario,
        arrivals=tuple(arrivals),
        models=tuple(map(simple, scenario.models)),
        callers=None,
        slots=max(scenario.slots, 2),
        quick_share=random.choice([0.5, 0.8, 1.0]),
    )


def _ailing(random: Random, scenario: Scenario) -> Scenario:
    """Have one model hang, and its callers wait until it is withdrawn for that."""
    ill = random.choice(scenario.models)
    patient = replace(ill, batching=replace(ill.batching, default_timeout_s=20.0, queue_limit_s=0.0))
    return replace(
        scenario,
        models=tuple(patient if model is ill else model for model in scenario.models),
        arrivals=tuple(
            replace(arrival, poison=Poison.HANG)
            if arrival.model == ill.name and random.random() < _HANGING
            else arrival
            for arrival in scenario.arrivals
        ),
    )


def changed(described: ModelDefinition, change: Change) -> ModelDefinition:
    """Return the description after a change that shows in it."""
    versions = dict(described.versions)
    lowest, highest = min(versions), max(versions)
    match change:
        case Change.TUNE:
            batching = replace(described.batching, delay_s=described.batching.delay_s + 0.001)
            return replace(described, batching=batching)
        case Change.PUBLISH:
            versions[highest + 1] = versions[highest]
        case Change.RETIRE if lowest != highest:
            del versions[lowest]
        case Change.ROLL_BACK if lowest != highest:
            del versions[highest]
        case Change.GARBLE if lowest != highest:
            del versions[highest]
            return replace(described, versions=versions, refused={highest: "half written"})
    return replace(described, versions=versions)


def _model(random: Random, index: int, apart: Random) -> ModelPlan:
    kind = random.choice([Kind.ROWS] * 5 + [Kind.OPTIONAL, Kind.TEXT, Kind.WHOLE, Kind.MIXING, Kind.LYING])
    max_rows = random.choice([1, 2, 4, 8, 16])
    tight = random.random() < 0.3
    return ModelPlan(
        name=f"m{index}",
        kind=kind,
        answers=AnswerOptions(
            share_in_flight=apart.random() < 0.25,
            cache_bytes=apart.choice([0, 0, 0, 4000, 1 << 20]),
            cache_ttl_s=apart.choice([0.01, 0.3, 60.0]),
        ),
        versions=tuple(sorted(random.sample(range(1, 6), random.choice([1, 1, 2, 3])))),
        batching=BatchingOptions(
            max_rows=max_rows,
            rows_limit=random.choice([0, 0, 0, max_rows]),
            delay_s=random.choice([0.0, 0.0, 0.0, 0.005, 0.05]),
            preferred_rows=random.choice([(), (), (2,), (2, 4)]) if max_rows >= 4 else (),
            allowed_rows=random.choice([(), (), (max_rows,), (1, 4, 16)]),
            max_queued_requests=random.randint(1, 12) if tight else 8192,
            max_queued_rows=random.randint(1, 40) if tight else 1 << 20,
            max_queued_bytes=random.randint(200, 3000) if tight else 1 << 30,
            default_timeout_s=random.choice([0.05, 5.0, 20.0]),
            queue_limit_s=apart.choice([0.0, 0.0, 0.0, 0.1]),
            max_timeout_s=apart.choice([0.15, 600.0]),
            priority_levels=(levels := apart.choice([1, 1, 2, 3])),
            default_priority=apart.randint(1, levels),
            aging_s=apart.choice([0.0, 0.002, 0.05]),
            execution_limit_s=LIMIT_S,
        ),
        instances=random.choice([0, 0, 1, 2]),
        run_s=random.choice([0.0, 0.002, 0.01, 0.02]),
        row_s=random.choice([0.0, 0.0005]),
        obeys=random.random() < 0.5,
        latest=random.choice([0, 1]),
    )


def _arrivals(random: Random, models: tuple[ModelPlan, ...], busy: int, trouble: float) -> tuple[Arrival, ...]:
    """Draw bursts of requests: exponential gaps between them, geometric numbers in them."""
    arrivals: list[Arrival] = []
    rate_hz = random.choice([busy / HORIZON_S, 20 * busy / HORIZON_S])  # all the time, or all at once
    at_s = random.random() * HORIZON_S / 2
    leaving = random.choice([0.0, 0.1, 0.5])
    urgency = random.choice([0.0, 0.3])
    patience_s = random.choice([0.005, 0.03, 0.2])
    mixed = random.random() < 0.4
    while len(arrivals) < busy:
        burst = 1 if random.random() < 0.6 else random.randint(2, 12)
        arrivals += [
            _arrival(
                random,
                random.choice(models),
                at_s,
                number=len(arrivals) + 1 + index,
                trouble=trouble,
                leaves_s=random.expovariate(20) if random.random() < leaving else None,
                within_s=random.expovariate(1 / patience_s) if random.random() < urgency else None,
                mixed=mixed,
            )
            for index in range(burst)
        ]
        at_s += random.expovariate(rate_hz) * burst
    return tuple(arrivals)


def _arrival(  # noqa: PLR0913 - what the whole scenario decides
    random: Random,
    model: ModelPlan,
    at_s: float,
    *,
    number: int,
    trouble: float,
    leaves_s: float | None,
    within_s: float | None,
    mixed: bool,
) -> Arrival:
    max_rows = model.batching.max_rows
    troubled = random.random() < trouble
    return Arrival(
        at_s=at_s,
        number=number,
        model=model.name if random.random() < 0.98 else "nobody",
        version=random.choice([str(random.choice(model.versions)), "3", "99", "stable", "previous", "blue"])
        if random.random() < 0.15
        else "",
        rows=random.choice([0, 1, 2, max_rows - 1, max_rows, max_rows + 1, 2 * max_rows]) if mixed else 1,
        width=random.choice([0, 1, 1, 2]) if mixed else 1,
        size_bytes=random.randint(1, 300),
        within_s=random.choice([0.0, within_s]) if within_s is not None and random.random() < 0.1 else within_s,
        timeout_s=random.expovariate(10) if random.random() < 0.05 else None,
        cancel_after_s=random.choice([0.0, leaves_s]) if leaves_s is not None else None,
        poison=random.choice([Poison.REFUSED, Poison.REFUSED, Poison.CRASH, Poison.HANG, Poison.SLOW])
        if troubled
        else None,
        bias=model.kind is Kind.OPTIONAL and random.random() < 0.3,
        malformed=random.random() < trouble,
        breaks_encoder=random.random() < trouble / 2,
        priority=0,
        caller="",
    )


def _operations(random: Random, models: tuple[ModelPlan, ...]) -> tuple[Operation, ...]:
    changes = [*Change, Change.LOAD, Change.TOUCH, Change.TOUCH, Change.PUBLISH, Change.PUBLISH, Change.MEND]
    changes += [*OPERATIONS - {Change.LABEL}, Change.SWAP, Change.SWAP, Change.ROLL_BACK_SWAP]
    changes.sort(key=lambda change: change.value)
    return tuple(
        _operation(random, random.choice(models), random.choice(changes)) for _ in range(random.randint(1, 20))
    )


def _operation(random: Random, model: ModelPlan, change: Change) -> Operation:
    return Operation(
        at_s=random.random() * HORIZON_S,
        model=model.name,
        change=change,
        cancel_after_s=random.random() / 2 if random.random() < 0.2 else None,
        version=random.choice(model.versions) if random.random() < 0.9 else random.randint(1, 6),
        keep_warm_s=random.choice([0.0, 0.2, 1.0, 5.0]),
        dry_run=random.random() < 0.1,
        force=random.random() < 0.3,
    )
