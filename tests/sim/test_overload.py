"""Three times what the model can do, on virtual time: promise 8, and fault 17 in its short version."""

from dataclasses import dataclass, field
from random import Random

import pytest

from shoal_server.errors import DeadlineExceeded, Overloaded
from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, Sent, run_core, wait
from shoal_testing.fake_model import FakeModel, Speed
from shoal_testing.fakes import definition

MAX_ROWS = 8
RUN_S, ROW_S = 0.012, 0.001
CAPACITY_HZ = MAX_ROWS / (RUN_S + ROW_S * MAX_ROWS)
DEADLINE_S = 0.1
LOAD_S = 2.0


@dataclass
class Course:
    """What became of a load: the answers in time, what was computed for nobody, and how long refusals took."""

    answered: int = 0
    in_time: int = 0
    refused: int = 0
    expired: int = 0
    wasted: int = 0
    rows_computed: int = 0
    latest_s: float = 0.0
    pushbacks_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)
    """What requests took that came in the second after the load."""

    @property
    def goodput_hz(self) -> float:
        return self.in_time / LOAD_S


def played(
    load: float, *, slots: int, seed: int, deadline_s: float = DEADLINE_S, adaptive_limit: bool = False
) -> Course:
    """Offer ``load`` times the capacity, open loop; callers leave at their deadlines."""
    course = Course()
    random = Random(seed)

    async def test(core: Core) -> None:
        sent: list[tuple[float, Sent]] = []

        def leave(one: Sent) -> None:
            if one.admission is not None and not one.responder.answers:
                one.cancel()

        async def offer(rate_hz: float, seconds: float) -> None:
            ends_s = core.loop.time() + seconds
            while core.loop.time() < ends_s:
                one = core.send(len(sent), within_s=deadline_s)
                sent.append((core.loop.time(), one))
                core.loop.call_later(deadline_s, leave, one)
                await wait(random.expovariate(rate_hz))

        await offer(0.5 * CAPACITY_HZ * slots, 0.5)  # to warm up
        sent.clear()
        core.model.runs.clear()
        await offer(load * CAPACITY_HZ * slots, LOAD_S)
        await wait(2 * deadline_s)
        computed = [number for run in core.model.runs for number in run]
        course.rows_computed = len(computed)
        served = 0
        for at_s, one in sent:
            if isinstance(one.refusal, Overloaded):
                course.refused += 1
                assert one.refusal.retry_after_s is not None
                course.pushbacks_s.append(one.refusal.retry_after_s)
            elif not one.responder.answers or isinstance(one.responder.answer.error, DeadlineExceeded):
                course.expired += 1
            else:
                assert one.responder.answer.error is None
                took_s = one.responder.answer.at_s - at_s
                course.answered += 1
                course.in_time += took_s <= deadline_s
                served += took_s <= deadline_s
                course.latest_s = max(course.latest_s, took_s)
        course.wasted = len(computed) - served
        sent.clear()
        await offer(0.5 * CAPACITY_HZ * slots, 1.0)
        await wait(1 + deadline_s)
        course.after_s = [one.responder.answer.at_s - at_s for at_s, one in sent if one.responder.answers]
        refused = sum(isinstance(one.refusal, Overloaded) for _at_s, one in sent)
        assert len(course.after_s) + refused == len(sent), "after the load, nobody is lost"
        # An adaptive limit that has learned from few at a time may refuse the last of a chance burst.
        assert refused <= (0.02 * len(sent) if adaptive_limit else 0), "after the load, everybody is answered"

    noise = Random(seed + 1)
    run_core(
        test,
        definition("m", batching=BatchingOptions(max_rows=MAX_ROWS, adaptive_limit=adaptive_limit)),
        slots=slots,
        make=lambda core, *_: FakeModel(
            threads=core.threads,
            speed=Speed(RUN_S, ROW_S, iter(lambda: noise.uniform(0.9, 1.1), None)),
            instances=slots,
        ),
        seed=seed,
    )
    return course


@pytest.mark.parametrize("slots", [1, 2])
def test_at_three_times_its_capacity_the_server_answers_as_many_in_time_as_at_its_peak(slots: int, seed: int) -> None:
    peak = played(1.2, slots=slots, seed=seed)  # refused are just those who are too many
    assert peak.goodput_hz >= 0.95 * CAPACITY_HZ * slots
    over = played(3.0, slots=slots, seed=seed)
    assert over.goodput_hz >= 0.95 * peak.goodput_hz, f"{over.goodput_hz:.0f} of {peak.goodput_hz:.0f} a second"
    assert over.wasted < 0.01 * over.rows_computed, f"{over.wasted} of {over.rows_computed} for nobody"
    assert over.refused > 10 * over.expired, f"{over.refused} refused at the door, {over.expired} after waiting"
    assert sorted(over.after_s)[int(0.99 * len(over.after_s))] < 0.08, "a standing line is left"


def test_under_overload_the_pushback_is_the_time_in_which_the_line_would_clear(seed: int) -> None:
    pushbacks_s = sorted(played(3.0, slots=1, seed=seed).pushbacks_s)
    # The line is as long as deadlines allow, 0.1 s, so half of it is gone in half of that.
    assert 0.5 * DEADLINE_S / 2 < pushbacks_s[len(pushbacks_s) // 2] < DEADLINE_S


def test_with_an_adaptive_limit_callers_without_deadlines_do_not_queue_for_long_either(seed: int) -> None:
    patient = played(3.0, slots=1, seed=seed, deadline_s=50.0)
    bounded = played(3.0, slots=1, seed=seed, deadline_s=50.0, adaptive_limit=True)
    assert patient.latest_s > 2.0, "the line grows as long as the load lasts"
    assert bounded.latest_s < 0.2
    assert bounded.answered > 0.95 * CAPACITY_HZ * LOAD_S
