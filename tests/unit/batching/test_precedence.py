"""Who goes first, in small courses; the rest is in the property tests."""

import gc
from dataclasses import dataclass

import pytest

from shoal_server.batching.backlog import Backlog
from shoal_server.batching.decision import Dispatch
from shoal_server.batching.precedence import Precedence
from shoal_server.errors import Overloaded
from shoal_server.options import BatchingOptions, FairnessOptions


@dataclass(eq=False)
class Entry:
    caller: str = ""
    priority: int = 1
    arrived_s: float = 0.0
    rows: int = 1
    key: tuple[object, ...] | None = ("a",)
    deadline_s: float = 1e6
    answer_by_s: float = 1e6
    size_bytes: int = 10
    bucket: int = 0


def batches(backlog: Backlog[Entry], now: float = 0.0) -> list[list[Entry]]:
    found = []
    while isinstance(decision := backlog.next(now, 1), Dispatch):
        found.append(list(decision.entries))
    return found


def test_the_more_important_goes_first_until_the_other_has_aged() -> None:
    options = BatchingOptions(max_rows=1, priority_levels=2, aging_s=0.5)
    low = Entry(priority=2, arrived_s=0.0)
    soon, late = Entry(priority=1, arrived_s=0.4), Entry(priority=1, arrived_s=0.6)
    backlog: Backlog[Entry] = Backlog(options)
    for entry in (low, soon, late):
        backlog.offer(entry)
    assert batches(backlog, 1.0) == [[soon], [low], [late]]


def test_a_batch_is_filled_in_the_order_of_importance() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=3, priority_levels=3, aging_s=1.0))
    entries = [Entry(priority=priority) for priority in (3, 2, 1, 2)]
    for entry in entries:
        backlog.offer(entry)
    assert batches(backlog) == [[entries[2], entries[1], entries[3]], [entries[0]]]


def test_the_most_important_decides_which_lane_is_next() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(priority_levels=2, aging_s=1.0))
    low, high, companion = Entry(priority=2), Entry(priority=1, key=("b",)), Entry(priority=2, key=("b",))
    for entry in (low, companion, high):
        backlog.offer(entry)
    assert batches(backlog) == [[high, companion], [low]]


def test_a_quiet_caller_is_in_the_next_batch_beside_one_who_floods() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=4), None, FairnessOptions())
    flood = [Entry("flood") for _ in range(100)]
    for entry in flood:
        backlog.offer(entry)
    assert isinstance(backlog.next(0.0, 1), Dispatch)
    quiet = Entry("quiet")
    backlog.offer(quiet)
    decision = backlog.next(0.0, 1)
    assert isinstance(decision, Dispatch)
    assert quiet in decision.entries


def test_a_quiet_caller_has_two_batches_saved_up_and_no_more() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=2), None, FairnessOptions())
    for _ in range(100):
        backlog.offer(Entry("flood"))
    for _ in range(5):
        assert isinstance(backlog.next(0.0, 1), Dispatch)
    for _ in range(8):
        backlog.offer(Entry("quiet"))
    order = [entry.caller for batch in batches(backlog) for entry in batch]
    # Its turn, and four rows saved up.
    assert order[:11] == ["quiet"] * 5 + ["flood", "quiet"] * 3


def test_nobody_is_counted_ahead_of_what_a_quiet_caller_has_saved_up() -> None:
    precedence: Precedence[Entry] = Precedence(BatchingOptions(max_rows=2), FairnessOptions())
    flood = [Entry("flood") for _ in range(100)]
    for entry in flood:
        precedence.add(entry, "a")
    for entry in flood[:10]:
        precedence.charge([entry])
        precedence.remove(entry, "a")
    counted = []
    for _ in range(8):
        quiet = Entry("quiet")
        counted.append(precedence.rows_ahead(quiet))
        precedence.add(quiet, "a")
    order = [entry.caller for entry in precedence.order("a")]
    served = [place for place, caller in enumerate(order) if caller == "quiet"]
    assert served[:5] == counted[:5] == [0, 1, 2, 3, 4], "four saved up, and its turn"
    assert all(0 <= place - count <= 1 for place, count in zip(served, counted, strict=True)), (served, counted)


def test_who_comes_again_and_again_has_saved_nothing_up_meanwhile() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=1), None, FairnessOptions())
    for _ in range(100):
        backlog.offer(Entry("flood"))
    for _ in range(10):
        assert isinstance(backlog.next(0.0, 1), Dispatch)
    served: list[Entry] = []
    for _ in range(20):
        pair = [Entry("again"), Entry("again")]
        for entry in pair:
            backlog.offer(entry)
        while pair[-1] not in served[-1:]:
            decision = backlog.next(0.0, 1)
            assert isinstance(decision, Dispatch)
            served += decision.entries
    callers = [entry.caller for entry in served]
    assert callers.count("again") - callers.count("flood") == pytest.approx(2, abs=1)


def test_rows_and_not_requests_are_shared_by_weight() -> None:
    fairness = FairnessOptions({"a": 3.0})
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=8), None, fairness)
    for _ in range(30):
        backlog.offer(Entry("a", rows=2))
        backlog.offer(Entry("b", rows=1))
        backlog.offer(Entry("b", rows=1))
    rows = {"a": 0, "b": 0}
    for _ in range(5):
        decision = backlog.next(0.0, 1)
        assert isinstance(decision, Dispatch)
        for entry in decision.entries:
            rows[entry.caller] += entry.rows
    assert sum(rows.values()) == 40
    assert rows["a"] == pytest.approx(30, abs=2)


def test_a_priority_moves_a_callers_own_requests_and_nobody_elses() -> None:
    options = BatchingOptions(max_rows=1, priority_levels=2, aging_s=100.0)
    backlog: Backlog[Entry] = Backlog(options, None, FairnessOptions())
    pushy = [Entry("pushy", 1) for _ in range(3)]
    modest = [Entry("modest", 2) for _ in range(3)]
    for entry in (*pushy, *modest):
        backlog.offer(entry)
    order = [entry.caller for batch in batches(backlog) for entry in batch]
    assert order == ["pushy", "modest"] * 3


def test_who_leaves_the_line_for_a_moment_has_not_paid_back_what_was_served() -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(max_rows=8), None, FairnessOptions())
    other = [Entry("other", rows=8) for _ in range(3)]
    backlog.offer(Entry("greedy", rows=8))
    for entry in other:
        backlog.offer(entry)
    assert isinstance(backlog.next(0.0, 1), Dispatch)  # greedy's, who has nothing left in the line
    backlog.offer(Entry("greedy", rows=8))
    order = [entry.caller for batch in batches(backlog) for entry in batch]
    assert order == ["other", "other", "greedy", "other"]


def test_one_who_floods_leaves_room_in_the_line_for_others() -> None:
    options = BatchingOptions(max_queued_requests=10)
    backlog: Backlog[Entry] = Backlog(options, None, FairnessOptions())
    for _ in range(5):
        backlog.offer(Entry("flood"))
    with pytest.raises(Overloaded, match="its caller holds its share of the line"):
        backlog.offer(Entry("flood"))
    for _ in range(2):
        backlog.offer(Entry("second"))
    backlog.offer(Entry("third"))
    assert len(backlog) == 8


@pytest.mark.parametrize("bound", [{"max_queued_rows": 40}, {"max_queued_bytes": 100}])
def test_the_share_is_one_of_rows_and_bytes_too(bound: dict[str, int]) -> None:
    backlog: Backlog[Entry] = Backlog(BatchingOptions(**bound), None, FairnessOptions())  # type: ignore[arg-type]
    for _ in range(5):
        backlog.offer(Entry("flood", rows=4))
    with pytest.raises(Overloaded, match="share"):
        backlog.offer(Entry("flood", rows=4))


def test_a_million_callers_who_come_once_are_not_remembered() -> None:
    precedence: Precedence[Entry] = Precedence(BatchingOptions(), FairnessOptions())
    precedence.add(Entry("standing"), "a")
    for number in range(5000):
        entry = Entry(f"caller {number}", rows=50)
        precedence.add(entry, "a")
        precedence.charge([entry])
        precedence.remove(entry, "a")
    held = [found for found in gc.get_referents(precedence) if isinstance(found, dict)]
    assert max(len(found) for found in held) <= 1024
