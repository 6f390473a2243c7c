"""A quiet model beside a hot one: fault 20, on virtual time."""

from random import Random

import pytest

from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, Sent, run_core, wait
from shoal_testing.fake_model import FakeModel, Speed
from shoal_testing.fakes import definition

RUN_S = 0.010
BATCHING = BatchingOptions(max_rows=8)


def quiet_latencies_s(slots: int, *, hot: bool, seed: int) -> list[float]:
    """Return what 200 requests to the quiet model took, ascending, while the other has four times what it can do.

    It asks for no more than its share, half of the slots, at any time: each gap has room for a run in its half. The
    other is hot from the beginning: who comes later has had nothing, and so gets a run more than who was there alone.
    """
    took: list[float] = []

    async def test(core: Core) -> None:
        random = Random(seed)
        sent: list[tuple[float, Sent]] = []
        for number in range(200):
            for _ in range(random.randrange(1, 8 * 4 * slots * 2) if hot else 0):
                core.send(number, "hot")
            sent.append((core.loop.time(), core.send(number, "quiet")))
            await wait(random.uniform(0.5, 1.5) * RUN_S * 4 / slots)
        await wait(60)
        took.extend(sorted(one.answer.at_s - at_s for at_s, one in sent))

    run_core(
        test,
        definition("hot", batching=BATCHING),
        definition("quiet", batching=BATCHING),
        slots=slots,
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(RUN_S)),
        seed=seed,
    )
    return took


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_quiet_model_is_not_starved_by_a_hot_one(slots: int, seed: int) -> None:
    alone, beside = (quiet_latencies_s(slots, hot=hot, seed=seed) for hot in (False, True))
    assert beside[-1] <= 2 * alone[-1] + 1e-6, f"the longest: {beside[-1]:.4f} s beside, {alone[-1]:.4f} s alone"


def test_a_quiet_model_waits_for_no_more_than_one_batch_however_many_are_hot(seed: int) -> None:
    """Four hot models would each be served before it, if turns went by the order of asking."""
    took: list[float] = []

    async def test(core: Core) -> None:
        random = Random(seed)
        sent: list[tuple[float, Sent]] = []
        for number in range(30):
            for hot in range(4):
                for _ in range(random.randrange(40, 100)):
                    core.send(number, f"hot{hot}")
            sent.append((core.loop.time(), core.send(number, "quiet")))
            await wait(random.uniform(15, 25) * RUN_S)
        await wait(60)
        # Of the first, nobody knows that it is quiet.
        took.extend(sorted(one.answer.at_s - at_s for at_s, one in sent[1:]))

    run_core(
        test,
        *(definition(name, batching=BATCHING) for name in ("hot0", "hot1", "hot2", "hot3", "quiet")),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(RUN_S)),
        seed=seed,
    )
    assert took[-1] <= 2 * RUN_S + 1e-6, "what runs when it comes, and its own batch"
