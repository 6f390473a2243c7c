import pytest

from shoal_server.batching.slots import Slots


class Waiter:
    """Takes a slot each time it is called while it wants one, and waits on where none is left."""

    def __init__(self, slots: Slots, wants: int, log: list["Waiter"]) -> None:
        self.slots = slots
        self.wants = wants
        self.log = log

    def pump(self) -> None:
        self.log.append(self)
        while self.wants and self.slots.free:
            self.wants -= 1
            self.slots.take()
        if self.wants:
            self.slots.wait(self.pump)


def test_slots_are_handed_round_robin_to_those_who_wait() -> None:
    slots, log = Slots(1), list[Waiter]()
    slots.take()
    waiters = [Waiter(slots, wants=2, log=log) for _ in range(3)]
    for waiter in waiters:
        slots.wait(waiter.pump)
    for _ in range(6):
        slots.give_back()
    assert log == waiters + waiters
    assert slots.free == 0
    slots.give_back()
    assert slots.free == 1


def test_a_waiter_that_has_no_use_for_a_slot_passes_it_on() -> None:
    slots, log = Slots(1), list[Waiter]()
    slots.take()
    idle, busy, last = (Waiter(slots, wants, log) for wants in (0, 1, 1))
    for waiter in (idle, busy, last):
        slots.wait(waiter.pump)
    slots.give_back()
    assert log == [idle, busy]
    assert slots.free == 0


def test_where_nobody_wants_a_slot_it_stays_free() -> None:
    slots, log = Slots(2), list[Waiter]()
    slots.take()
    slots.take()
    waiters = [Waiter(slots, 0, log) for _ in range(3)]
    for waiter in waiters:
        slots.wait(waiter.pump)
    slots.give_back()
    assert slots.free == 1
    assert log == waiters


def test_one_slot_that_is_given_back_may_be_several_by_the_time_a_waiter_is_called() -> None:
    slots, log = Slots(2), list[Waiter]()
    slots.take()
    slots.take()
    greedy = Waiter(slots, 2, log)
    slots.wait(slots.give_back)  # a waiter whose own work ends just then
    slots.wait(greedy.pump)
    slots.give_back()
    assert greedy.wants == 0
    assert slots.free == 0


def test_asking_twice_is_asking_once_and_keeps_the_place() -> None:
    slots, log = Slots(1), list[Waiter]()
    slots.take()
    first, second = Waiter(slots, 1, log), Waiter(slots, 1, log)
    for waiter in (first, second, first):
        slots.wait(waiter.pump)
    slots.give_back()
    slots.give_back()
    slots.give_back()
    assert log == [first, second]


def test_who_is_forgotten_is_not_called() -> None:
    slots, log = Slots(1), list[Waiter]()
    slots.take()
    waiter = Waiter(slots, 1, log)
    slots.wait(waiter.pump)
    slots.forget(waiter.pump)
    slots.forget(waiter.pump)
    slots.give_back()
    assert log == []


def test_taking_what_is_not_free_is_a_bug() -> None:
    slots = Slots(1)
    slots.take()
    with pytest.raises(AssertionError, match="a slot is taken only where one is free"):
        slots.take()


def test_giving_back_what_was_not_taken_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="a slot is given back once"):
        Slots(1).give_back()


def test_slots_describe_themselves() -> None:
    slots = Slots(3)
    slots.take()
    slots.wait(print)
    assert repr(slots) == "<Slots 2 of 3 free, 1 waiting>"
