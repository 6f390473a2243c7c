"""Requests that come together are answered where they came, and only where nothing is in the way of that."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shoal_server.batching.burst import AT_A_TIME_S
from shoal_server.batching.outcome import Outcome
from shoal_server.errors import ExecutionFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import (
    AdmissionOptions,
    AnswerOptions,
    BatchingOptions,
    CallerOptions,
    FairnessOptions,
)
from shoal_server.service import Asked
from shoal_testing.at_once import FakeBurst
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import FakeModel, Kind, decoded
from shoal_testing.fakes import definition
from shoal_testing.scattered import in_place


def asked_of(numbers: Sequence[int], *, rows: int = 1, **other: Any) -> tuple[Asked, list[bytes]]:  # noqa: ANN401
    """Return what requests ask for, each with ``rows`` rows of its number, and the elements of each."""
    tensors = [rows_of([number] * rows)[0] for number in numbers]
    name, datatype, shape, data = tensors[0]
    asked = Asked("m", "", ((name, datatype, shape),), (), [len(data)])
    return asked._replace(**other), [in_place(tensor.data) for tensor in tensors]


# Batches of tickets run on threads here, so that what is looked at is what bursts do.
QUICK: dict[str, Any] = {"quick": lambda: True, "hangs": lambda _work: True}


async def made_known(core: Core, rows: int = 1) -> None:
    """Have the core answer a request of that form."""
    sent = core.send([0] * rows)
    await wait(1.0)
    assert sent.answer.error is None


def numbers_in(burst: FakeBurst) -> list[int]:
    return [int(str(decoded(Kind.ROWS, answer.array()[0][0])[0])) for answer in burst.answers]


def test_who_comes_together_is_answered_by_one_batch_before_anything_else_happens() -> None:
    async def test(core: Core) -> None:
        await made_known(core, rows=2)
        asked, elements = asked_of(range(5), rows=2)
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 5
        assert (burst.batches, numbers_in(burst)) == ([5], [0, 1, 2, 3, 4])
        assert core.model.runs[-1] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert (core.executor.submitted, core.executor.learned) == (1, 1)
        core.assert_at_rest()
        counted = core.batcher.statistics
        assert (counted.inference_count, counted.execution_count) == (2 + 10, 2)
        assert (counted.success.count, counted.queue_s.read().size) == (6, 6)
        assert counted.batches[10].count == 1

    run_core(test, **QUICK)


def test_more_than_a_batch_can_hold_are_several() -> None:
    async def test(core: Core) -> None:
        await made_known(core, rows=2)
        asked, elements = asked_of(range(7), rows=2)
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 7
        assert (burst.batches, numbers_in(burst)) == ([3, 3, 1], [0, 1, 2, 3, 4, 5, 6])

    run_core(test, definition("m", batching=BatchingOptions(max_rows=7)), **QUICK)


def test_many_batches_do_not_keep_the_loop() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(8))
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 4, "two batches take more than the loop may be kept for"
        assert (burst.batches, numbers_in(burst)) == ([2, 2], [0, 1, 2, 3])

    def slow(core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        return FakeModel(script=lambda _run: core.loop.advance(AT_A_TIME_S * 0.6))

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), make=slow, **QUICK)


def test_batches_are_padded_to_the_sizes_that_are_allowed() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of([5, 6, 7])
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 3
        assert (core.model.runs[-1], numbers_in(burst)) == ([5, 6, 7, 7], [5, 6, 7])

    run_core(test, definition("m", batching=BatchingOptions(max_rows=8, allowed_rows=(4, 8))), **QUICK)


def test_who_left_is_counted_as_one_who_left() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(5))
        assert core.service.infer_now(asked, FakeBurst(elements, left=frozenset({1, 3}))) == 5
        counted = core.batcher.statistics
        assert (counted.success.count, counted.fail.count) == (4, 2)
        assert counted.failures == {Outcome.CANCELLED: 2}

    run_core(test, **QUICK)


@pytest.mark.parametrize(
    ("serves", "admission", "other"),
    [
        (definition("m", batching=BatchingOptions(delay_s=0.001)), None, {}),
        (definition("m", batching=BatchingOptions(adaptive_limit=True)), None, {}),
        (definition("m", answers=AnswerOptions(nan_guard=True)), None, {}),
        (definition("m", answers=AnswerOptions(share_in_flight=True)), None, {}),
        (definition("m"), AdmissionOptions(max_requests=3), {}),
        (definition("m"), AdmissionOptions(max_rows=3), {}),
        (definition("m"), AdmissionOptions(max_bytes=399), {}),
        (definition("m"), None, {"model": "other"}),
        (definition("m"), None, {"version": "7"}),
        (definition("m"), None, {"outputs": ("z",)}),
        (definition("m"), None, {"sizes_bytes": [16]}),
        (definition("m"), None, {"inputs": (("x", "INT64", (1, 2)),)}),
    ],
    ids=lambda value: repr(value)[-60:] if isinstance(value, dict) else None,
)
def test_where_anything_is_to_be_seen_to_the_long_way_is_taken(
    serves: ModelDefinition, admission: AdmissionOptions | None, other: dict[str, Any]
) -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(4), **other)
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 0
        assert not burst.tried

    run_core(test, serves, admission=admission, **QUICK)


def test_where_callers_are_told_apart_the_long_way_is_taken() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(4))
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0

    run_core(test, callers=CallerOptions(fairness=FairnessOptions({})), **QUICK)


def test_what_is_not_known_to_be_quick_or_to_be_right_takes_the_long_way() -> None:
    async def test(core: Core) -> None:
        asked, elements = asked_of(range(4))
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0, "nobody has asked like this before"
        await made_known(core)
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0, "it is not quick"

    run_core(test, quick=lambda: False)


def test_who_has_more_rows_than_a_batch_or_than_is_allowed_takes_the_long_way() -> None:
    async def test(core: Core) -> None:
        await made_known(core, rows=4)
        asked, elements = asked_of(range(2), rows=4)
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0

    run_core(test, definition("m", batching=BatchingOptions(max_rows=3)), **QUICK)


def test_a_model_that_may_turn_for_long_takes_the_long_way() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(3))
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0

    def turning(_core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        model = FakeModel()
        model.steady = False
        return model

    run_core(test, make=turning, **QUICK)


def test_nobody_who_waits_is_passed_over_and_no_instance_is_used_twice() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(4))
        running, waiting = core.send([1]), core.send([2])
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0
        await wait(0.0015)
        assert (len(running.responder.answers), len(waiting.responder.answers)) == (1, 0)
        assert core.service.infer_now(asked, FakeBurst(elements)) == 0
        await wait(1.0)
        assert core.service.infer_now(asked, FakeBurst(elements)) == 4

    def slow(core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        return FakeModel(threads=core.threads, instances=1, script=lambda _run: void_pause(core))

    run_core(test, make=slow, **QUICK)


def test_who_is_quick_does_not_wait_for_the_batches_of_others() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        other = core.send([1], model="slow")
        await wait(0.5)
        assert (core.slots.free, other.responder.answers) == (0, [])
        asked, elements = asked_of(range(4))
        assert core.service.infer_now(asked, FakeBurst(elements)) == 4
        assert core.slots.free == 0
        await wait(1.0)
        assert other.answer.error is None

    def make(core: Core, wanted: ModelDefinition, _version: int) -> FakeModel:
        script = (lambda _run: void_pause(core, 1.0)) if wanted.name == "slow" else lambda _run: None
        return FakeModel(threads=core.threads, script=script)

    run_core(test, definition("m"), definition("slow"), make=make, **QUICK)


def void_pause(core: Core, seconds: float = 0.001) -> None:
    core.threads.pause(seconds)


def test_who_could_be_late_takes_the_long_way() -> None:
    async def test(core: Core) -> None:
        for _ in range(8):
            await made_known(core)
        core.send([1])
        await wait(0.5)
        asked, elements = asked_of(range(4))
        now = core.loop.time()
        assert core.service.infer_now(asked, FakeBurst(elements, earliest_s=now)) == 0
        assert core.service.infer_now(asked, FakeBurst(elements, earliest_s=now + 0.0005)) == 0, "it takes 1 ms"
        assert core.service.infer_now(asked, FakeBurst(elements, earliest_s=now + 0.1)) == 4

    def slow(core: Core, _definition: ModelDefinition, _version: int) -> FakeModel:
        return FakeModel(threads=core.threads, script=lambda _run: void_pause(core))

    run_core(test, make=slow, **QUICK)


@pytest.mark.parametrize("kind", [Kind.MIXING, Kind.LYING])
def test_outputs_that_cannot_be_cut_answer_nobody(kind: Kind) -> None:
    async def test(core: Core) -> None:
        core.send([0])
        await wait(1.0)
        asked, elements = asked_of(range(4))
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 0
        assert (burst.tried, burst.answers) == (4, [])
        core.assert_at_rest()

    run_core(test, make=lambda *_: FakeModel(kind), **QUICK)


def failing_from(run: int) -> Callable[..., FakeModel]:
    def script(number: int) -> None:
        if number >= run:
            raise ExecutionFailed("broken")

    return lambda *_: FakeModel(script=script)


def test_from_a_batch_that_fails_on_the_long_way_is_taken() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(7))
        burst = FakeBurst(elements)
        assert core.service.infer_now(asked, burst) == 3
        assert numbers_in(burst) == [0, 1, 2]
        core.assert_at_rest()
        assert core.batcher.statistics.success.count == 4

    run_core(test, definition("m", batching=BatchingOptions(max_rows=3)), make=failing_from(2), **QUICK)


def test_answers_that_cannot_be_encoded_are_left_to_the_long_way() -> None:
    async def test(core: Core) -> None:
        await made_known(core)
        asked, elements = asked_of(range(4))
        assert core.service.infer_now(asked, FakeBurst(elements, breaks=True)) == 0
        core.assert_at_rest()

    run_core(test, **QUICK)
