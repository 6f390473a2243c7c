"""What the core tells of batches with traced members, and only of those."""

from typing import Any

import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.events import BatchEnded, Event
from shoal_server.options import BatchingOptions
from shoal_server.service import Asked, InferenceRequest
from shoal_testing.at_once import FakeBurst
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import RecordingResponder, definition
from shoal_testing.mark import Mark
from shoal_testing.scattered import in_place

RUN_S = 0.01


def send(core: Core, number: int, trace: Mark | None, within_s: float | None = None) -> RecordingResponder:
    """Ask for a row without ``flush``."""
    responder = RecordingResponder(core.loop.time)
    deadline_s = None if within_s is None else core.loop.time() + within_s
    core.service.infer(InferenceRequest("m", "", rows_of(number), (), 100, deadline_s, trace=trace), responder)
    return responder


def told(core: Core) -> list[BatchEnded]:
    return core.events.of(BatchEnded)


def test_a_batch_names_its_traced_members_its_size_and_its_times() -> None:
    async def test(core: Core) -> None:
        began_s = core.loop.time()
        marks = [Mark(), Mark()]
        for number, mark in ((1, marks[0]), (2, None), (3, marks[1])):
            send(core, number, mark)
        assert not any(mark.dispatched for mark in marks)
        core.service.flush()
        assert all(mark.dispatched for mark in marks)
        await wait(1)
        (event,) = told(core)
        assert (event.model, event.version, event.requests, event.rows, event.reason) == ("m", 1, 3, 3, "slot_free")
        assert list(event.members) == marks
        assert list(event.arrived_s) == [began_s, began_s]
        assert (event.dispatched_s, event.broken) == (began_s, False)
        assert event.ended_s == pytest.approx(began_s + RUN_S)
        (run,) = event.runs
        assert (run.rows, list(run.members)) == (3, marks)

    run_core(test, make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(RUN_S)))


def test_nothing_is_told_of_batches_without_traced_members_or_of_members_that_never_ran() -> None:
    async def test(core: Core) -> None:
        send(core, 1, None)
        core.service.flush()
        late = Mark()
        responder = send(core, 2, late, within_s=RUN_S / 2)
        core.service.flush()
        await wait(1)
        assert responder.answer.error is not None
        assert not late.dispatched
        assert told(core) == []

    run_core(test, make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(RUN_S)))


def test_a_batch_that_was_run_in_parts_tells_each_part_with_its_members() -> None:
    async def test(core: Core) -> None:
        good, bad, other = Mark(), Mark(), Mark()
        for number, mark in ((1, good), (2, bad), (3, other)):
            send(core, number, mark)
        core.service.flush()
        await wait(1)
        (event,) = told(core)
        assert list(event.members) == [good, bad, other]
        members = [member for run in event.runs for member in run.members]
        assert sorted(map(id, members)) == sorted(map(id, (good, other))), "each in the run that answered it"

    run_core(
        test,
        make=lambda core, *_: FakeModel(
            Kind.ROWS, threads=core.threads, speed=Speed(RUN_S), poisons={2: Poison.REFUSED}
        ),
    )


def test_a_batch_that_is_given_up_is_told_of_too() -> None:
    async def test(core: Core) -> None:
        mark = Mark()
        responder = send(core, 1, mark)
        core.service.flush()
        await wait(30)
        assert isinstance(responder.error, ExecutionFailed)
        assert [list(event.members) for event in told(core)] == [[mark]]

    run_core(
        test,
        definition("m", batching=BatchingOptions(execution_limit_s=0.5)),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(2.0)),
    )


QUICK: dict[str, Any] = {"quick": lambda: True, "hangs": lambda _work: True}


def together(core: Core, marks: dict[int, Mark], count: int = 5) -> int:
    """Have requests of one row answered where they came; return how many were."""
    tensors = [rows_of(number)[0] for number in range(count)]
    name, datatype, shape, data = tensors[0]
    asked = Asked("m", "", ((name, datatype, shape),), (), [len(data)])
    return core.service.infer_now(asked, FakeBurst([in_place(tensor.data) for tensor in tensors], marks=marks))


def test_a_batch_that_is_answered_where_it_came_is_told_of_in_the_same_way() -> None:
    async def test(core: Core) -> None:
        send(core, 0, None)
        core.service.flush()
        await wait(1)
        began_s = core.loop.time()
        marks = {1: Mark(), 3: Mark()}
        assert together(core, marks) == 5
        await wait(0)
        (event,) = told(core)
        assert (event.model, event.version, event.requests, event.rows, event.reason) == ("m", 1, 5, 5, "slot_free")
        assert (list(event.members), list(event.arrived_s)) == ([*marks.values()], [began_s] * 2)
        assert (event.dispatched_s, event.broken) == (began_s, False)
        assert event.ended_s == pytest.approx(began_s + RUN_S / 10)
        (run,) = event.runs
        assert (run.rows, list(run.members)) == (5, [*marks.values()])

    run_core(
        test, make=lambda core, *_: FakeModel(script=lambda run: core.loop.advance(RUN_S / 10 if run else 0)), **QUICK
    )


def test_several_batches_that_are_answered_where_they_came_tell_each_of_its_own_members() -> None:
    async def test(core: Core) -> None:
        send(core, 0, None)
        core.service.flush()
        await wait(1)
        marks = {0: Mark(), 4: Mark()}
        assert together(core, marks) == 5
        await wait(0)
        assert [list(event.members) for event in told(core)] == [[marks[0]], [marks[4]]]
        assert [event.reason for event in told(core)] == ["full", "slot_free"]

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), **QUICK)


def test_who_could_not_be_answered_where_he_came_is_told_of_by_the_batch_that_he_waits_for() -> None:
    async def test(core: Core) -> None:
        send(core, 0, None)
        core.service.flush()
        await wait(1)
        mark = Mark()
        assert (together(core, {0: mark}), mark.dispatched) == (0, False)
        send(core, 1, mark)
        core.service.flush()
        await wait(1)
        assert mark.dispatched
        assert [list(event.members) for event in told(core)] == [[mark]]

    def once(run: int) -> None:
        if run == 1:
            raise ExecutionFailed("broken")

    run_core(test, make=lambda *_: FakeModel(script=once), **QUICK)


class Raising:
    """Breaks its contract when it hears of batches."""

    def observe(self, event: Event) -> None:
        if isinstance(event, BatchEnded):
            raise ZeroDivisionError


def test_an_observer_that_raises_costs_nobody_an_answer_who_is_answered_where_he_came() -> None:
    async def test(core: Core) -> None:
        raised: list[object] = []
        core.loop.set_exception_handler(lambda _loop, context: raised.append(type(context["exception"])))
        send(core, 0, None)
        core.service.flush()
        await wait(1)
        assert together(core, {0: Mark(), 4: Mark()}) == 5
        assert raised == [ZeroDivisionError] * 2
        core.assert_at_rest()

    run_core(test, definition("m", batching=BatchingOptions(max_rows=2)), observer=Raising(), **QUICK)
