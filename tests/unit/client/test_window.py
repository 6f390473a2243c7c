"""When rows that wait to travel together leave."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal_client.errors import ConfigurationError
from shoal_client.window import Coalescing, Leave, WakeAt, Window

LATER = 100.0


def window(under_way: int = 1) -> Window:
    made = Window(max_rows=4, max_delay_s=0.5)
    made.under_way = under_way
    return made


def test_nothing_waits_where_no_request_is_under_way() -> None:
    rows = window(under_way=0)
    assert rows.next(0.0) is None
    for _ in range(3):
        rows.offer(0.0, LATER)
    assert rows.next(0.0) == Leave(3)


def test_rows_gather_while_a_request_is_under_way() -> None:
    rows = window()
    rows.offer(1.0, LATER)
    assert rows.next(1.0) == WakeAt(1.5)
    rows.offer(1.2, LATER)
    assert rows.next(1.2) == WakeAt(1.5)
    assert rows.next(1.5) == Leave(2)


def test_an_answer_lets_the_next_leave() -> None:
    rows = window()
    rows.offer(1.0, LATER)
    rows.answered()
    assert rows.next(1.0) == Leave(1)


def test_a_full_window_leaves_and_the_rest_stays() -> None:
    rows = window()
    for _ in range(6):
        rows.offer(1.0, LATER)
    assert rows.next(1.0) == Leave(4)
    rows.left(4)
    assert rows.under_way == 2
    assert rows.next(1.0) == WakeAt(1.5)
    assert len(rows) == 2


def test_a_row_whose_deadline_is_near_does_not_wait() -> None:
    rows = window()
    rows.offer(1.0, LATER)
    rows.offer(1.1, 1.7)
    assert rows.next(1.1) == Leave(2)


def test_who_leaves_takes_its_wake_up_along() -> None:
    rows = window()
    rows.offer(1.0, LATER)
    rows.offer(1.2, LATER)
    rows.withdraw(0)
    assert rows.next(1.2) == WakeAt(1.7)


@pytest.mark.parametrize("wrong", [{"max_rows": 1}, {"max_rows": 5000}, {"max_delay_s": -1.0}, {"max_delay_s": 2.0}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Coalescing(**wrong)


class Windows(RuleBasedStateMachine):
    """A shell that does what the window says: no row waits longer than the delay, and no request has too many."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.window = Window(max_rows=4, max_delay_s=0.5)
        self.waiting: list[float] = []

    @rule(left_s=st.floats(0.01, 10))
    def offer(self, left_s: float) -> None:
        self.window.offer(self.now_s, self.now_s + left_s)
        self.waiting.append(self.now_s)
        self.obey()

    @rule(wait_s=st.floats(0, 1))
    def wait(self, wait_s: float) -> None:
        until_s = self.now_s + wait_s
        while isinstance(step := self.window.next(self.now_s), WakeAt) and step.time_s <= until_s:
            self.now_s = step.time_s
            self.obey()
        self.now_s = until_s

    @precondition(lambda self: self.window.under_way)
    @rule()
    def answered(self) -> None:
        self.window.answered()
        self.obey()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.waiting) - 1))
        self.window.withdraw(position)
        del self.waiting[position]

    def obey(self) -> None:
        while isinstance(step := self.window.next(self.now_s), Leave):
            assert 0 < step.rows <= 4
            del self.waiting[: step.rows]
            self.window.left(step.rows)

    @invariant()
    def nobody_waits_too_long_or_for_nothing(self) -> None:
        assert len(self.window) == len(self.waiting) < 4
        assert all(self.now_s - since_s <= 0.5 + 1e-9 for since_s in self.waiting)
        assert not self.waiting or self.window.under_way


TestWindows = Windows.TestCase
