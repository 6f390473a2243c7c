"""What the core tells of batches with traced members, and only of those."""

from dataclasses import dataclass

import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.events import BatchEnded
from shoal_server.options import BatchingOptions
from shoal_server.service import InferenceRequest
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import FakeModel, Kind, Poison, Speed
from shoal_testing.fakes import RecordingResponder, definition

RUN_S = 0.01


@dataclass(eq=False)
class Mark:
    """Stands for a trace."""

    dispatched: bool = False


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
