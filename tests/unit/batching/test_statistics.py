from shoal_server.batching.decision import CloseReason
from shoal_server.batching.execution import Report, Run
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.statistics import MOST_SIZES, Stages, Statistics, Total
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import ExecutionFailed
from shoal_server.tensors.spec import Checked
from shoal_testing.fakes import RecordingResponder

MS = 1_000_000


def ticket_of(rows: int, arrived_s: float, *, ok: bool = True) -> Ticket:
    ticket = Ticket(RecordingResponder(), Checked((), rows, ()), 10, arrived_s, 100.0)
    if ok:
        ticket.succeed(Outputs(Origin("m", 1, 1), (), ()), 0, rows)
    else:
        ticket.fail(ExecutionFailed("no"))
    return ticket


def stages(count: int, input_ns: int, infer_ns: int, output_ns: int) -> Stages:
    return Stages(count, input_ns, infer_ns, output_ns)


def test_rows_are_counted_as_inferences_and_runs_as_executions() -> None:
    statistics = Statistics()
    tickets = [ticket_of(2, 10.0), ticket_of(3, 10.5)]
    statistics.executed(tickets, Report([Run(5, 1, 20, 3)]), dispatched_s=11.0, now=12.0)
    statistics.executed([ticket_of(5, 12.0)], Report([Run(5, 1, 30, 3)]), dispatched_s=12.0, now=13.0)
    assert (statistics.inference_count, statistics.execution_count) == (10, 2)
    assert statistics.last_inference_s == 13.0
    assert statistics.success == Total(3, 4500 * MS)
    assert statistics.queue == Total(3, 1500 * MS)
    assert statistics.fail == Total()


def test_stages_count_the_whole_batch_for_each_request_and_once_per_number_of_rows() -> None:
    statistics = Statistics()
    statistics.executed([ticket_of(1, 0.0), ticket_of(1, 0.0)], Report([Run(2, 1, 20, 3, requests=2)]), 0.0, 1.0)
    statistics.executed([ticket_of(1, 0.0)], Report([Run(1, 4, 50, 6)]), 0.0, 1.0)
    assert statistics.stages == stages(3, 6, 90, 12)
    assert statistics.batches == {2: stages(1, 1, 20, 3), 1: stages(1, 4, 50, 6)}


def test_a_batch_that_was_run_in_parts_counts_each_run_that_answered_somebody() -> None:
    statistics = Statistics()
    members = [ticket_of(1, 0.0), ticket_of(1, 0.0, ok=False), ticket_of(1, 0.0)]
    statistics.executed(members, Report([Run(1, 1, 10, 1), Run(1, 2, 20, 2)]), 0.5, 1.0)
    assert (statistics.inference_count, statistics.execution_count) == (2, 2)
    assert statistics.batches == {1: stages(2, 3, 30, 3)}
    assert statistics.stages == stages(2, 3, 30, 3)
    assert (statistics.success, statistics.fail) == (Total(2, 2000 * MS), Total(1, 1000 * MS))


def test_a_batch_in_which_all_failed_is_no_inference() -> None:
    statistics = Statistics()
    statistics.executed([ticket_of(1, 0.0, ok=False)], Report(), 0.5, 1.0)
    assert (statistics.inference_count, statistics.execution_count, statistics.last_inference_s) == (0, 0, 0.0)
    assert (statistics.fail, statistics.batches) == (Total(1, 1000 * MS), {})


def test_a_request_that_never_ran_counts_as_failed_for_as_long_as_it_waited() -> None:
    statistics = Statistics()
    statistics.failed(ticket_of(1, 1.0, ok=False), 1.25)
    assert statistics.fail == Total(1, 250 * MS)


def test_callers_who_send_ever_other_numbers_of_rows_do_not_make_the_statistics_grow() -> None:
    statistics = Statistics()
    for rows in range(1, 3 * MOST_SIZES):
        statistics.executed([ticket_of(rows, 0.0)], Report([Run(rows, 1, 1, 1)]), 0.5, 1.0)
    assert len(statistics.batches) == MOST_SIZES
    assert statistics.execution_count == 3 * MOST_SIZES - 1
    statistics.executed([ticket_of(1, 0.0)], Report([Run(1, 1, 1, 1)]), 0.5, 1.0)
    assert statistics.batches[1].count == 2, "the sizes that are known are counted on"


def test_exporters_get_a_copy_with_every_outcome_and_every_histogram() -> None:
    statistics = Statistics()
    statistics.dispatched(3, CloseReason.FULL)
    members = [ticket_of(2, 10.0), ticket_of(1, 10.5, ok=False)]
    statistics.executed(members, Report([Run(2, 1 * MS, 20 * MS, 3 * MS)]), dispatched_s=11.0, now=12.0)
    measured = statistics.measured()
    statistics.dispatched(3, CloseReason.FULL)
    assert measured.outcomes == {Outcome.OK: 1, Outcome.EXECUTION_FAILED: 1}
    assert measured.close_reasons == {CloseReason.FULL: 1}
    totals = {
        name: (getattr(measured, name).size, getattr(measured, name).total)
        for name in ("queue_s", "request_s", "batch_rows", "input_s", "infer_s", "output_s")
    }
    assert totals == {
        "queue_s": (1, 1.0),
        "request_s": (1, 2.0),
        "batch_rows": (1, 3.0),
        "input_s": (1, 0.001),
        "infer_s": (1, 0.02),
        "output_s": (1, 0.003),
    }


def test_a_member_that_nobody_could_tell_the_outcome_of_counts_as_given_up() -> None:
    statistics = Statistics()
    waiting = Ticket(RecordingResponder(), Checked((), 1, ()), 10, 0.0, 100.0)
    statistics.executed([waiting], Report(), 0.5, 1.0)
    assert statistics.measured().outcomes == {Outcome.OK: 0, Outcome.ABANDONED: 1}


def test_batches_without_tickets_are_counted_when_somebody_asks_or_there_are_many() -> None:
    statistics = Statistics()
    run = Run(4, 1 * MS, 2 * MS, 3 * MS, requests=2)
    for number in range(1, 101):
        statistics.executed_at_once(run, 3, CloseReason.FULL, came_s=1.0, dispatched_s=1.5, now=2.0)
        assert number - statistics.execution_count < 32, "they are not kept for ever"
        if number % 7 == 0:
            assert statistics.counted() is statistics
            assert statistics.execution_count == number
    assert statistics.measured().outcomes == {Outcome.OK: 200, Outcome.CANCELLED: 100}
    assert (statistics.inference_count, statistics.execution_count, statistics.last_inference_s) == (400, 100, 2.0)
    assert (statistics.success, statistics.queue) == (Total(200, 200_000 * MS), Total(200, 100_000 * MS))
    assert (statistics.fail, statistics.close_reasons) == (Total(100, 100_000 * MS), {CloseReason.FULL: 100})
    assert (statistics.request_s.read().size, statistics.batch_rows.read().total) == (200, 400)
    assert statistics.batches == {4: stages(100, 100 * MS, 200 * MS, 300 * MS)}


def test_the_last_inference_is_the_last_one_however_late_it_is_counted() -> None:
    statistics = Statistics()
    statistics.executed_at_once(Run(4, 1, 2, 3, requests=2), 2, CloseReason.FULL, came_s=1.0, dispatched_s=1.5, now=2.0)
    statistics.executed([], Report([Run(4, 1, 2, 3, requests=2)]), 2.5, 3.0)
    assert statistics.counted().last_inference_s == 3.0
