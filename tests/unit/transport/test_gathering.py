"""Lists are held open where that finds company, and nobody waits for long for company that does not come."""

from collections.abc import Callable
from typing import Any

from shoal_server.transport.gathering import MOST, MOST_DOUBT, NEAR_S, QUIET_TURNS, Gathering


class Turns:
    """A loop whose turns are called for, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lists: list[list[int]] = []
        self._soon: list[Callable[[], None]] = []
        loop: Any = self
        self.gathering: Gathering[int] = Gathering(loop, self, self.lists.append)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def monotonic(self) -> float:
        return self.now

    def epoch(self) -> float:
        return self.now

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            soon, self._soon = self._soon, []
            for callback in soon:
                callback()

    def turns_until_handed_over(self) -> int:
        """Return how many turns the list took that is open now."""
        before = len(self.lists)
        for turns in range(1, 1000):
            self.turn()
            if len(self.lists) > before:
                return turns
        raise AssertionError("nothing is handed over")

    def after(self, seconds: float, item: int) -> int:
        """Let time pass, have an item come, and return how many turns later it was handed over."""
        self.now += seconds
        self.gathering.add(item)
        return self.turns_until_handed_over()


def test_who_comes_after_a_pause_is_handed_over_in_the_next_turn() -> None:
    turns = Turns()
    assert [turns.after(2 * NEAR_S, item) for item in range(5)] == [1] * 5
    assert turns.lists == [[0], [1], [2], [3], [4]]


def test_what_comes_in_one_turn_is_one_list() -> None:
    turns = Turns()
    for item in range(3):
        turns.gathering.add(item)
    turns.turn()
    assert turns.lists == [[0, 1, 2]]


def test_where_items_follow_closely_a_list_is_held_open_until_nothing_has_come_for_some_turns() -> None:
    turns = Turns()
    turns.after(1.0, 0)
    turns.gathering.add(1)
    for item in (2, 3):
        turns.turn(QUIET_TURNS)
        turns.gathering.add(item)
    assert turns.turns_until_handed_over() == QUIET_TURNS + 1
    assert turns.lists == [[0], [1, 2, 3]]


def test_a_list_that_is_long_is_not_held_open() -> None:
    turns = Turns()
    turns.after(1.0, 0)
    for item in range(MOST):
        turns.gathering.add(item)
    turns.turn()
    assert [len(one) for one in turns.lists] == [1, MOST]


def test_a_quick_lone_caller_is_made_to_wait_ever_more_rarely() -> None:
    turns = Turns()
    waits = [turns.after(NEAR_S / 2, 0) > 1 for _ in range(500)]
    assert waits[:12] == [False, True, False, True, False, False, True, False, False, False, False, True]
    assert sum(waits[100:]) <= 400 / MOST_DOUBT + 1
    assert sum(map(len, turns.lists)) == 500


def test_after_company_has_been_found_it_is_looked_for_again() -> None:
    turns = Turns()
    for item in (1, 2):
        turns.gathering.add(item)
    turns.turn()
    turns.now += 1.0
    turns.gathering.add(3)
    turns.turn(5)
    turns.gathering.add(4)
    turns.turns_until_handed_over()
    assert turns.lists == [[1, 2], [3, 4]]
