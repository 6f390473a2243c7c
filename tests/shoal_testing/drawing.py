"""Draws scenarios, each from its seed."""

from dataclasses import replace
from random import Random

from shoal_server.options import (
    AdmissionOptions,
    AnswerOptions,
    BatchingOptions,
    CallerOptions,
    FairnessOptions,
    QuotaOptions,
)
from shoal_testing.fake_model import Kind, Poison
from shoal_testing.scenario import HORIZON_S, LIMIT_S, OPERATIONS, Arrival, Change, ModelPlan, Operation, Scenario
from shoal_testing.variations import ailing, of_many_lengths, pressed, quick, repeated

_AILING = 0.15  # of scenarios have a model that hangs most of the time


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
        arrivals=repeated(
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
        scenario = ailing(random, scenario)
    # The same content does the same to a model, whoever sent it.
    poisons = {one.number: one.poison for one in scenario.arrivals if one.poison is not None}
    arrivals = tuple(replace(one, poison=poisons.get(one.number)) for one in scenario.arrivals)
    scenario = of_many_lengths(Random(seed * 2 + 1), replace(scenario, arrivals=arrivals))
    return pressed(Random(seed * 5 + 4), quick(Random(seed * 3 + 2), scenario))


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
