"""The use case: what is refused at the door, and that nothing refused leaves a trace."""

import numpy as np
import pytest

from shoal_server.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ShoalError,
    Unavailable,
)
from shoal_server.options import AdmissionOptions, BatchingOptions
from shoal_server.service import InferenceService
from shoal_testing.core import Core, rows_of, run_core, wait
from shoal_testing.fake_model import SERIALS, FakeModel, Speed
from shoal_testing.fakes import definition, tensor


def test_an_answer_is_made_by_the_version_that_was_asked_for_or_the_newest() -> None:
    async def test(core: Core) -> None:
        sent = {version: core.send(1, version=version) for version in ("1", "2", "")}
        await wait(1)
        origins = {version: one.answer.outputs.origin for version, one in sent.items() if one.answer.outputs}
        assert {version: origin.version for version, origin in origins.items()} == {"1": 1, "2": 2, "": 2}
        assert origins["1"].uid != origins["2"].uid
        serials = {version: int(one.answer.array()[0, 0]) % SERIALS for version, one in sent.items()}
        assert serials["2"] == serials[""] != serials["1"]

    run_core(test, definition("m", 1, 2))


@pytest.mark.parametrize(
    ("model", "version", "error"),
    [("other", "", NotFound), ("", "", NotFound), ("m", "7", NotFound), ("m", "x", NotFound)],
)
def test_what_does_not_exist_is_not_found(model: str, version: str, error: type[ShoalError]) -> None:
    async def test(core: Core) -> None:
        assert isinstance(core.send(1, model, version).refusal, error)

    run_core(test)


def test_a_wrong_request_is_refused_and_a_batch_that_forms_is_untouched() -> None:
    async def test(core: Core) -> None:
        row = np.ones((1, 1), np.int64)
        first = core.offer(rows_of(1))
        wrong = [
            core.offer([]),
            core.offer([*rows_of(1), *rows_of(1)]),
            core.offer([tensor("q", row)]),
            core.offer([tensor("x", row.astype(np.float32))]),
            core.offer([tensor("x", row[0])]),
            core.offer([rows_of(1)[0]._replace(data=b"")]),
            core.offer(rows_of(1), outputs=["q"]),
            core.offer(rows_of(1), outputs=["y", "y"]),
        ]
        second = core.offer(rows_of(2), outputs=["y"])
        core.service.flush()
        await wait(1)
        assert [type(one.refusal) for one in wrong] == [InvalidRequest] * len(wrong)
        assert not any(one.responder.answers for one in wrong)
        assert core.model.runs == [[1, 2]]
        assert [int(one.answer.array()[0, 0]) // SERIALS for one in (first, second)] == [1, 2]

    run_core(test)


@pytest.mark.parametrize(
    ("rows", "limit", "refused"), [(4, 4, False), (5, 4, True), (0, 4, False), (500, 0, False), (65, 0, False)]
)
def test_rows_beyond_a_declared_limit_are_refused_and_without_one_they_run_alone(
    rows: int,
    limit: int,
    refused: bool,  # noqa: FBT001
) -> None:
    async def test(core: Core) -> None:
        small = core.offer(rows_of(1))
        sent = core.offer(rows_of(range(rows)))
        core.service.flush()
        await wait(1)
        if refused:
            assert isinstance(sent.refusal, InvalidRequest)
            assert str(sent.refusal) == "inference request batch-size must be <= 4 for 'm', got 5"
        else:
            assert (sent.answer.array()[:, 0] // SERIALS).tolist() == list(range(rows))
        assert small.answer.array()[0, 0] // SERIALS == 1

    run_core(test, definition("m", batching=BatchingOptions(rows_limit=limit)))


def test_zero_rows_are_answered_with_zero_rows() -> None:
    async def test(core: Core) -> None:
        sent, other = core.offer(rows_of([])), core.offer(rows_of(1))
        core.service.flush()
        await wait(1)
        assert sent.answer.array().shape == (0, 1)
        assert other.answer.array().shape == (1, 1)

    run_core(test)


@pytest.mark.parametrize(
    ("within_s", "timeout_s", "refused"),
    [(0.0, None, True), (-1.0, None, True), (1.0, 0.0, True), (None, 0.0, True), (0.001, None, False)],
)
def test_a_deadline_that_has_passed_is_refused_at_the_door(
    within_s: float | None,
    timeout_s: float | None,
    refused: bool,  # noqa: FBT001
) -> None:
    async def test(core: Core) -> None:
        sent = core.send(1, within_s=within_s, timeout_s=timeout_s)
        await wait(1)
        assert isinstance(sent.refusal, DeadlineExceeded) == refused
        assert core.model.seen == (set() if refused else {1})

    run_core(test)


@pytest.mark.parametrize(
    ("within_s", "timeout_s", "expires_s"), [(0.3, None, 0.3), (0.3, 0.2, 0.2), (0.2, 0.3, 0.2), (None, 0.4, 0.4)]
)
def test_a_request_waits_until_the_earlier_of_deadline_and_timeout(
    within_s: float | None, timeout_s: float | None, expires_s: float
) -> None:
    async def test(core: Core) -> None:
        core.send(1)
        began = core.loop.time()
        sent = core.send(2, within_s=within_s, timeout_s=timeout_s)
        await wait(2)
        assert isinstance(sent.error, DeadlineExceeded)
        assert sent.answer.at_s - began == pytest.approx(expires_s)

    run_core(test, make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(1.0)))


def test_all_bounds_refuse_with_a_text_that_names_them_and_leave_no_trace() -> None:
    async def test(core: Core) -> None:
        core.send([1, 2, 3], size_bytes=400)
        for sent in (core.send(4, size_bytes=700), core.send([4] * 8, size_bytes=1)):
            assert isinstance(sent.refusal, Overloaded)
            assert "the server is overloaded" in str(sent.refusal)
        assert (core.gate.requests, core.gate.rows, core.gate.size_bytes) == (1, 3, 400)
        assert core.versions[0].leases == 1
        await wait(1)

    run_core(
        test,
        admission=AdmissionOptions(max_requests=5, max_rows=10, max_bytes=1000),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.1)),
    )


def test_a_full_line_gives_back_what_the_gate_had_let_in() -> None:
    async def test(core: Core) -> None:
        core.send(1)
        core.send(2)
        assert isinstance(core.send(3).refusal, Overloaded)
        assert core.gate.requests == core.versions[0].leases == 2
        await wait(1)

    run_core(
        test,
        definition("m", batching=BatchingOptions(max_queued_requests=1)),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.1)),
    )


def test_a_closed_gate_refuses_and_those_inside_are_answered() -> None:
    async def test(core: Core) -> None:
        sent = core.send(1)
        core.gate.close()
        assert isinstance(core.send(2).refusal, Unavailable)
        await wait(1)
        assert sent.answer.error is None

    run_core(test)


def test_an_unexpected_exception_at_the_door_holds_no_lease_and_no_permit() -> None:
    async def test(core: Core) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        batcher = core.batcher
        for owner, name in ((core.gate, "admit"), (batcher, "offer")):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(owner, name, broken)
                with pytest.raises(ZeroDivisionError):
                    core.offer(rows_of(1))
            core.assert_at_rest()
        sent = core.send(1)
        await wait(1)
        assert sent.answer.error is None

    run_core(test)


def test_a_caller_who_leaves_after_the_answer_changes_nothing() -> None:
    async def test(core: Core) -> None:
        sent = core.send(1)
        await wait(1)
        sent.cancel()
        sent.cancel()
        assert sent.answer.error is None

    run_core(test)


def test_a_caller_who_leaves_before_the_flush_is_never_computed() -> None:
    async def test(core: Core) -> None:
        sent = core.offer(rows_of(1))
        sent.cancel()
        core.service.flush()
        await wait(1)
        assert core.model.runs == []
        assert not sent.responder.answers

    run_core(test)


def test_a_version_that_is_unloaded_answers_those_it_had_taken_and_refuses_the_next() -> None:
    async def test(core: Core) -> None:
        running, waiting = core.send(1), core.send(2)
        unload = core.loop.create_task(core.manager.unload("m"))
        await wait(0.01)
        assert isinstance(core.send(3).refusal, Unavailable)
        await unload
        assert [int(one.answer.array()[0, 0]) // SERIALS for one in (running, waiting)] == [1, 2]
        assert core.model.closed

    run_core(test, make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.1)))


def test_a_crash_in_the_model_is_an_internal_error_and_the_next_request_is_served() -> None:
    crashes = [ZeroDivisionError("text for the log only")]

    def script(_run: int) -> None:
        if crashes:
            raise crashes.pop()

    async def test(core: Core) -> None:
        failed = core.send(1)
        await wait(1)
        assert isinstance(failed.error, InternalError)
        served = core.send(2)
        await wait(1)
        assert served.answer.error is None

    run_core(test, make=lambda *_: FakeModel(script=script))


@pytest.mark.parametrize(
    ("within_s", "timeout_s", "options", "expires_s"),
    [
        (None, None, {}, 60.0),
        (None, None, {"queue_limit_s": 5.0}, 5.0),
        (9.0, None, {}, 9.0),
        (9.0, None, {"queue_limit_s": 5.0}, 5.0),
        (3.0, None, {"queue_limit_s": 5.0}, 3.0),
        (None, 2.0, {"queue_limit_s": 5.0}, 2.0),  # shorter
        (None, 8.0, {"queue_limit_s": 5.0}, 8.0),  # longer
        (None, 80.0, {}, 80.0),
        (None, 80.0, {"max_timeout_s": 70.0}, 70.0),  # up to the cap
        (7.0, 8.0, {"queue_limit_s": 5.0}, 7.0),  # and never beyond the caller's own deadline
    ],
)
def test_a_request_waits_as_long_as_the_strongest_who_has_a_say(
    within_s: float | None, timeout_s: float | None, options: dict[str, float], expires_s: float
) -> None:
    async def test(core: Core) -> None:
        core.send(0, timeout_s=500.0)  # keeps the slot
        began_s = core.loop.time()
        sent = core.send(1, within_s=within_s, timeout_s=timeout_s)
        await wait(200)
        assert isinstance(sent.error, DeadlineExceeded)
        assert sent.answer.at_s - began_s == pytest.approx(expires_s)

    batching = BatchingOptions(execution_limit_s=1000.0, **options)  # type: ignore[arg-type]
    run_core(
        test,
        definition("m", batching=batching),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(100.0)),
    )


def test_who_is_refused_is_told_when_to_come_back_each_at_another_time() -> None:
    draws = iter([0.5, 1.5])

    async def test(core: Core) -> None:
        core.service = InferenceService(core.gate, core.manager, core.clock, lambda: next(draws))
        core.send(0)
        core.send(1)
        refusals = [core.send(2).refusal, core.send(3).refusal]
        assert all(isinstance(refusal, Overloaded) for refusal in refusals)
        first, second = (refusal.retry_after_s for refusal in refusals if isinstance(refusal, Overloaded))
        assert first is not None
        assert second == pytest.approx(3 * first)
        await wait(1)

    run_core(
        test,
        definition("m", batching=BatchingOptions(max_queued_requests=1)),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.01)),
    )


def test_a_full_server_says_when_to_come_back() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        refusal = core.send(1).refusal
        assert isinstance(refusal, Overloaded)
        assert refusal.retry_after_s == pytest.approx(0.05), "nothing is known yet"
        await wait(1)
        core.send(0)
        refusal = core.send(1).refusal
        assert isinstance(refusal, Overloaded)
        assert refusal.retry_after_s == pytest.approx(0.01)
        await wait(1)

    run_core(
        test,
        admission=AdmissionOptions(max_requests=1),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.01)),
    )


def test_a_server_that_is_full_of_large_requests_says_to_come_back_when_one_of_them_is_over() -> None:
    async def test(core: Core) -> None:
        core.send(0)
        await wait(1)
        core.offer(rows_of(range(320)))  # five batches
        core.service.flush()
        refusal = core.send(1).refusal
        assert isinstance(refusal, Overloaded)
        assert refusal.retry_after_s == pytest.approx(0.05)
        await wait(1)

    run_core(
        test,
        definition("m", batching=BatchingOptions(max_rows=64)),
        admission=AdmissionOptions(max_requests=1),
        make=lambda core, *_: FakeModel(threads=core.threads, speed=Speed(0.01)),
    )
