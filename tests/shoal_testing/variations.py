"""Variations of a scenario that was drawn: equal requests, many lengths, quick or larger batches, what hangs."""

from dataclasses import replace
from random import Random

from shoal_server.options import AnswerOptions, LengthOptions, VariableInput
from shoal_testing.fake_model import PAD, Kind, Poison
from shoal_testing.scenario import LIMIT_S, Arrival, ModelPlan, Scenario

_VARYING = 0.3  # of models whose rows are independent
_QUICK = 0.2  # of scenarios have batches that the loop runs itself
_PRESSED = 0.2  # of scenarios have a model with larger batches while callers wait
_HANGING = 0.8  # of the requests of a model that hangs most of the time


def repeated(random: Random, arrivals: list[Arrival]) -> tuple[Arrival, ...]:
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


def of_many_lengths(newest: Random, scenario: Scenario) -> Scenario:
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


def quick(random: Random, scenario: Scenario) -> Scenario:
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


def pressed(random: Random, scenario: Scenario) -> Scenario:
    """Have one model form larger batches while callers wait, and many of its requests come together and ask alike."""
    if random.random() >= _PRESSED:
        return scenario
    chosen = random.choice(scenario.models)
    rows = random.choice([1, 2])
    batching = replace(
        chosen.batching,
        max_rows=rows,
        pressed_rows=rows * random.choice([2, 4]),
        pressed_after=random.choice([1, 2, 3]),
        rows_limit=0,
        allowed_rows=(),
        preferred_rows=(),
        lengths=None,
        priority_levels=random.choice([1, 1, 2]),
        default_priority=1,
    )
    model = replace(chosen, kind=Kind.ROWS, batching=batching)
    arrivals: list[Arrival] = []
    has_all = random.random() < 0.6  # where others want the slots, it forms none
    for arrival in scenario.arrivals:
        one = replace(arrival, model=model.name) if has_all else arrival
        if one.model == model.name:
            one = replace(one, width=1, bias=False, version="", timeout_s=None)
            one = replace(one, within_s=random.choice([None, None, one.within_s]))
        if arrivals and random.random() < 0.8:
            one = replace(one, at_s=arrivals[-1].at_s)
        arrivals.append(one)
    callers = random.choice([None, None, scenario.callers])
    if random.random() < 0.3:  # larger batches would come near the limit of one, and callers wait for them
        patient = replace(model.batching, default_timeout_s=20.0, queue_limit_s=0.0)
        model = replace(model, run_s=LIMIT_S / 6, batching=patient)
    return replace(
        scenario,
        arrivals=tuple(arrivals),
        models=tuple(model if one is chosen else one for one in scenario.models),
        callers=callers,
    )


def ailing(random: Random, scenario: Scenario) -> Scenario:
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
