from shoal_server.batching.decision import CloseReason
from shoal_server.batching.ledger import MOST_GONE, Ledger
from shoal_server.batching.outcome import Outcome
from shoal_server.batching.statistics import Statistics
from shoal_server.errors import Bound, InvalidRequest, Overloaded


def counting(batches: int) -> Statistics:
    """Return the statistics of a load that ran so many batches of two rows."""
    statistics = Statistics()
    for _ in range(batches):
        statistics.dispatched(2, CloseReason.FULL)
    return statistics


def batches(ledger: Ledger) -> dict[tuple[str, int], int]:
    return {(one.model, one.version): one.measured.batch_rows.size for one in ledger.read()}


def test_a_version_without_requests_is_not_told() -> None:
    ledger = Ledger()
    ledger.opened("m", 1, Statistics(), 5.0)
    assert list(ledger.read()) == []


def test_what_a_load_has_counted_stays_when_it_is_over_and_the_next_load_adds_to_it() -> None:
    ledger = Ledger()
    old, new = counting(3), counting(2)
    ledger.opened("m", 1, old, 5.0)
    ledger.opened("m", 1, new, 6.0)
    assert batches(ledger) == {("m", 1): 5}, "both serve: the old one drains"
    ledger.closed("m", 1, old)
    assert batches(ledger) == {("m", 1): 5}
    new.dispatched(2, CloseReason.ALONE)
    (told,) = ledger.read()
    assert told.measured.close_reasons == {CloseReason.FULL: 5, CloseReason.ALONE: 1}
    assert told.since_epoch_s == 5.0
    ledger.closed("m", 1, new)
    assert batches(ledger) == {("m", 1): 6}, "whoever reads later still sees the last counts"


def test_refusals_and_outcomes_add_up_over_loads() -> None:
    ledger = Ledger()
    for _ in range(2):
        statistics = Statistics()
        ledger.opened("m", 1, statistics, 5.0)
        statistics.refused(Overloaded("full", Bound.ROWS), by_queue=True)
        statistics.refused(Overloaded("full", Bound.ROWS), by_queue=False)
        statistics.refused(InvalidRequest("wrong"), by_queue=False)
    (told,) = ledger.read()
    assert told.measured.queue_refusals == {Bound.ROWS: 2}
    assert told.measured.outcomes == {Outcome.OVERLOADED: 4, Outcome.INVALID: 2}


def test_versions_that_are_gone_are_forgotten_oldest_first_and_begin_anew_if_they_come_back() -> None:
    ledger = Ledger()
    for version in range(MOST_GONE + 2):
        statistics = counting(1)
        ledger.opened("m", version, statistics, 5.0)
        ledger.closed("m", version, statistics)
    assert list(batches(ledger)) == [("m", version) for version in range(2, MOST_GONE + 2)]
    ledger.opened("m", 0, counting(1), 9.0)
    again = next(one for one in ledger.read() if one.version == 0)
    assert (again.since_epoch_s, again.measured.batch_rows.size) == (9.0, 1)


def test_a_version_that_serves_is_never_forgotten() -> None:
    ledger = Ledger()
    ledger.opened("kept", 1, counting(1), 5.0)
    for version in range(2 * MOST_GONE):
        statistics = counting(1)
        ledger.opened("m", version, statistics, 5.0)
        ledger.closed("m", version, statistics)
    assert ("kept", 1) in batches(ledger)
    assert len(batches(ledger)) == MOST_GONE + 1
