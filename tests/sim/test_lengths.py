"""Requests of many lengths on virtual time: what padding gains, what it may not cost, and who waits for whom."""

from collections.abc import Sequence
from random import Random

import pytest

from shoal_server.options import BatchingOptions, LengthOptions, VariableInput
from shoal_testing.core import Core, Sent, rows_of, run_core, wait
from shoal_testing.drawing import drawn
from shoal_testing.fake_model import PAD, SERIALS, FakeModel, Kind, Speed
from shoal_testing.fakes import definition
from shoal_testing.simulation import simulate

RUN_S, CELL_S = 0.0016, 0.000215  # of a transformer of MiniLM's size on one core
IN_FLIGHT = 64
TEXTS = 1000
ODD = 400


def drawn_lengths(seed: int) -> list[int]:
    """Return lengths as those of paragraphs: most of them short."""
    random = Random(seed)
    return [min(max(round(random.lognormvariate(3.5, 0.8)), 3), 256) for _ in range(TEXTS)]


def oracle_s(lengths: Sequence[int]) -> float:
    """Return what all texts take in the best batches of neighbours by length, of any size in cells."""
    ordered = sorted(lengths)

    def took_s(cells: int) -> float:
        total_s, first = 0.0, 0
        for number in range(1, len(ordered) + 1):
            rows = number + 1 - first
            if number == len(ordered) or rows * ordered[number] > cells or rows > 64:
                total_s += RUN_S + CELL_S * (number - first) * ordered[number - 1]
                first = number
        return total_s

    return min(took_s(cells) for cells in (64, 128, 256, 512, 1024, 2048, 4096))


def served(lengths: Sequence[int], *, slots: int, seed: int) -> tuple[FakeModel, float, float]:
    """Have callers ask for all texts, one after the other; return the model, the padded share and the longest wait."""
    noise = Random(seed)
    result: list[tuple[FakeModel, float, float]] = []

    async def test(core: Core) -> None:
        numbers = iter(range(len(lengths)))
        sent: list[tuple[float, int, Sent]] = []

        def ask() -> None:
            number = next(numbers, None)
            if number is not None:
                one = core.offer(rows_of(number, lengths[number]), before=ask)
                sent.append((core.loop.time(), number, one))
                core.loop.call_soon(core.service.flush)

        for _ in range(IN_FLIGHT):
            ask()
        while not (len(sent) == len(lengths) and all(one.responder.answers for _, _, one in sent)):
            await wait(0.05)
        for _, number, one in sent:
            assert (one.answer.array() // SERIALS).tolist() == [[number] * lengths[number]]
        statistics = core.batcher.statistics
        assert statistics.cells == sum(lengths)
        longest_s = max(one.answer.at_s - at_s for at_s, _, one in sent)
        result.append((core.model, statistics.padded_cells / statistics.cells, longest_s))

    options = LengthOptions({"x": VariableInput(1, PAD)}, {"y": 1})
    run_core(
        test,
        definition("m", batching=BatchingOptions(lengths=options)),
        slots=slots,
        make=lambda core, *_: FakeModel(
            Kind.LENGTHS,
            threads=core.threads,
            speed=Speed(RUN_S, CELL_S, iter(lambda: noise.uniform(0.95, 1.05), None)),
            timings=[(cells, RUN_S + CELL_S * cells) for cells in (8, 16, 32, 64, 128)],
            lengths=options,
            instances=slots,
        ),
        seed=seed,
    )
    return result[0]


@pytest.mark.parametrize("slots", [1, 2])
def test_many_callers_get_nearly_what_an_oracle_gets_that_sorts_all_texts(slots: int, seed: int) -> None:
    lengths = drawn_lengths(seed)
    model, padded, _ = served(lengths, slots=slots, seed=seed)
    took_s = sum(RUN_S + CELL_S * cells for cells in model.cells)
    assert oracle_s(lengths) / took_s >= 0.95
    assert padded <= 1.1
    assert len(model.runs) < 0.6 * len(lengths), "and they did run together"


def test_an_odd_length_flushes_no_batch_and_waits_for_a_bounded_time(seed: int) -> None:
    """A long text now and then: the others are joined as before, and it is served when it has become the oldest."""
    lengths = [ODD if number % 50 == 25 else length for number, length in enumerate(drawn_lengths(seed))]
    model, padded, longest_s = served(lengths, slots=1, seed=seed)
    assert padded <= 1.1
    others = [length for length in lengths if length != ODD]
    took_s = sum(RUN_S + CELL_S * cells for cells in model.cells) - (len(lengths) - len(others)) * (
        RUN_S + CELL_S * ODD
    )
    assert oracle_s(others) / took_s >= 0.93
    # All that can be before anybody: those who were in the line when he came, each in a batch of his own, the oldest
    # first. None of them waited for more than 64 others.
    most_s = IN_FLIGHT * (RUN_S + CELL_S * sum(lengths) / len(lengths)) * 2.5
    assert longest_s < most_s


def test_seeded_scenarios_have_models_whose_requests_are_joined_across_lengths() -> None:
    joined = 0
    for seed in range(80):
        scenario = drawn(seed)
        if not any(model.kind is Kind.LENGTHS for model in scenario.models):
            continue
        played = simulate(scenario)
        joined += sum(len({one.ticket.bucket for one in batch}) > 1 for batch in played.batches.values())
    assert joined > 10
