"""Precedence under any course of arrivals, departures and batches: as a naive reading has it, fair, and with an end."""

from dataclasses import dataclass
from math import isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_server.batching.precedence import Precedence
from shoal_server.options import BatchingOptions, FairnessOptions
from shoal_testing.naive_order import NaiveOrder

LANES = ("a", "b")
CALLERS = ("x", "y", "z")
WEIGHTS = FairnessOptions({"y": 2.0, "z": 0.5})
MOST_ROWS = 5


@dataclass(eq=False)
class Entry:
    rows: int
    arrived_s: float
    priority: int
    caller: str
    lane: str
    size_bytes: int = 1


ARRIVAL = st.tuples(
    st.integers(0, MOST_ROWS), st.integers(1, 3), st.sampled_from(CALLERS), st.sampled_from(LANES), st.integers(0, 3)
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), ARRIVAL),
        st.tuples(st.just("serve"), st.integers(1, 6)),
        st.tuples(st.just("leave"), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(STEPS, st.booleans(), st.sampled_from([0.0, 1.5]))
@settings(max_examples=200)
def test_requests_go_in_the_order_of_a_naive_reading(
    steps: list[tuple[str, object]],
    fair: bool,  # noqa: FBT001
    aging_s: float,
) -> None:
    options = BatchingOptions(priority_levels=3, aging_s=aging_s)
    fairness = WEIGHTS if fair else None
    precedence, naive = Precedence[Entry](options, fairness), NaiveOrder[Entry](options, fairness)
    waiting: list[Entry] = []
    now = 0.0
    for kind, what in steps:
        if isinstance(what, tuple):
            rows, priority, caller, lane, passed_s = what
            now += passed_s
            entry = Entry(rows, now, priority, caller, lane)
            expected = naive.rows_ahead(waiting, naive.name(entry), priority)
            assert abs(precedence.rows_ahead(entry) - expected) <= 1
            naive.arrive(entry, waiting)
            precedence.add(entry, lane)
            waiting.append(entry)
        elif waiting and isinstance(what, int):
            if kind == "leave":
                entry = waiting.pop(what % len(waiting))
                precedence.remove(entry, entry.lane)
                continue
            first = precedence.first()
            assert first is naive.first(waiting)
            batch = [entry for entry, _ in zip(precedence.order(first.lane), range(what), strict=False)]
            lane = [entry for entry in waiting if entry.lane == first.lane]
            assert batch == naive.order(lane, what)
            assert batch[0] is first
            precedence.charge(batch)
            naive.serve(batch)
            for entry in batch:
                precedence.remove(entry, entry.lane)
                waiting.remove(entry)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=1, max_size=60),
    st.lists(st.integers(1, 4), min_size=60, max_size=60),
)
def test_the_least_important_is_overtaken_by_nobody_who_comes_after_it_has_aged(
    arrivals: list[tuple[int, int]], served: list[int]
) -> None:
    options = BatchingOptions(priority_levels=3, aging_s=2.0)
    precedence: Precedence[Entry] = Precedence(options, None)
    waiting: list[Entry] = []
    now = 0.0
    for (priority, passed_s), batch in zip(arrivals, served, strict=False):
        now += passed_s
        entry = Entry(1, now, priority, "x", "a")
        precedence.add(entry, "a")
        waiting.append(entry)
        taken = [entry for entry, _ in zip(precedence.order("a"), range(batch % 2), strict=False)]
        for entry in taken:
            precedence.remove(entry, "a")
            waiting.remove(entry)
            assert all(entry.arrived_s <= other.arrived_s + (3 - 1) * 2.0 for other in waiting)


@given(
    st.lists(st.tuples(st.sampled_from(CALLERS), st.integers(1, MOST_ROWS)), min_size=30, max_size=200),
    st.integers(1, 6),
)
def test_callers_who_always_wait_are_served_in_proportion_to_their_weights(
    arrivals: list[tuple[str, int]], batch: int
) -> None:
    precedence: Precedence[Entry] = Precedence(BatchingOptions(), WEIGHTS)
    for caller, rows in arrivals:
        precedence.add(Entry(rows, 0.0, 1, caller, "a"), "a")
    left = {caller: sum(rows for name, rows in arrivals if name == caller) for caller in CALLERS}
    served = dict.fromkeys(CALLERS, 0)
    while all(left.values()):
        for entry in [entry for entry, _ in zip(precedence.order("a"), range(batch), strict=False)]:
            precedence.charge([entry])
            precedence.remove(entry, "a")
            served[entry.caller] += entry.rows
            left[entry.caller] -= entry.rows
            if not all(left.values()):
                break
            for one in CALLERS:
                for other in CALLERS:
                    w_one, w_other = WEIGHTS.weight_of(one), WEIGHTS.weight_of(other)
                    apart = abs(served[one] / w_one - served[other] / w_other)
                    bound = MOST_ROWS / w_one + MOST_ROWS / w_other
                    assert apart <= bound or isclose(apart, bound), (served, one, other)
