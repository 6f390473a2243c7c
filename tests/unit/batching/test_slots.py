import pytest

from shoal_server.batching.slots import MOST_OWED_S, Account, Slots


class Waiter:
    """Takes a slot each time it is called while it wants one, and waits on where none is left."""

    def __init__(self, slots: Slots, wants: int, log: list["Waiter"]) -> None:
        self.slots = slots
        self.wants = wants
        self.log = log
        self.account = slots.account(self.pump)

    def pump(self) -> None:
        self.log.append(self)
        while self.wants and self.slots.free:
            self.wants -= 1
            self.slots.take(self.account)
        if self.wants:
            self.slots.wait(self.account)


def taken(slots: Slots, count: int = 1) -> Account:
    """Let somebody else take so many slots; return his account."""
    other = slots.account(lambda: None)
    for _ in range(count):
        slots.take(other)
    return other


def test_slots_go_in_turns_to_those_who_wait_and_have_had_as_much() -> None:
    slots, log = Slots(1), list[Waiter]()
    holder = taken(slots)
    waiters = [Waiter(slots, wants=2, log=log) for _ in range(3)]
    for waiter in waiters:
        slots.wait(waiter.account)
    slots.give_back(holder, 1.0)
    for _ in range(6):
        slots.give_back(log[-1].account, 1.0)
    assert log == waiters + waiters
    assert slots.free == 1


def test_whoever_has_kept_slots_for_less_time_goes_first() -> None:
    slots, log = Slots(1), list[Waiter]()
    slow, quick = (Waiter(slots, 500, log) for _ in range(2))
    slow.pump()
    quick.pump()
    log.clear()
    slots.give_back(slow.account, 0.5)
    for _ in range(40):
        slots.give_back(log[-1].account, 0.5 if log[-1] is slow else 0.1)
    assert log.count(quick) == pytest.approx(5 * log.count(slow), abs=6)


@pytest.mark.parametrize("used_s", [0.25, 2 * MOST_OWED_S])
@pytest.mark.parametrize("before_s", [0.0, 0.5])
def test_a_use_that_is_charged_counts_like_one_of_a_slot(before_s: float, used_s: float) -> None:
    found = []
    for is_charged in (False, True):
        slots = Slots(1)
        slots.give_back(taken(slots), before_s)
        account = slots.account(lambda: None)
        for _ in range(2):
            if is_charged:
                slots.charge(account, used_s)
            else:
                slots.take(account)
                slots.give_back(account, used_s)
        late = slots.account(lambda: None)
        own = (account.used_s, account.quiet, account.running, slots.free)
        slots.take(late)
        found.append((own, late.used_s, late.quiet))
    assert found[0] == found[1]
    assert found[0][0][0] > 0


def test_a_quiet_one_goes_before_all_who_wait_again() -> None:
    slots, log = Slots(1), list[Waiter]()
    hot = [Waiter(slots, 10, log) for _ in range(4)]
    for waiter in hot:
        waiter.pump()
    for _ in range(7):
        running = next(waiter for waiter in hot if waiter.account.running)
        slots.give_back(running.account, 0.1)
    quiet = Waiter(slots, 1, log)
    quiet.pump()
    running = next(waiter for waiter in hot if waiter.account.running)
    slots.give_back(running.account, 0.1)
    assert log[-1] is quiet


def test_who_was_quiet_has_saved_nothing_up() -> None:
    slots, log = Slots(1), list[Waiter]()
    hot, quiet = Waiter(slots, 100, log), Waiter(slots, 100, log)
    hot.pump()
    for _ in range(50):
        slots.give_back(hot.account, 0.1)
    quiet.pump()
    log.clear()
    for _ in range(10):
        slots.give_back((hot if hot.account.running else quiet).account, 0.1)
    assert log.count(quiet) == pytest.approx(5, abs=1)


def test_one_batch_that_hung_costs_no_more_than_a_second_of_waiting() -> None:
    slots, log = Slots(1), list[Waiter]()
    hung, other = Waiter(slots, 2, log), Waiter(slots, 1000, log)
    hung.pump()
    other.pump()
    log.clear()
    slots.give_back(hung.account, 60.0)
    while log[-1] is other:
        slots.give_back(other.account, 0.1)
    assert len(log) <= MOST_OWED_S / 0.1 + 2


def test_a_waiter_that_has_no_use_for_a_slot_passes_it_on() -> None:
    slots, log = Slots(1), list[Waiter]()
    holder = taken(slots)
    idle, busy, last = (Waiter(slots, wants, log) for wants in (0, 1, 1))
    for waiter in (idle, busy, last):
        slots.wait(waiter.account)
    slots.give_back(holder, 0.0)
    assert log == [idle, busy]
    assert slots.free == 0


def test_where_nobody_wants_a_slot_it_stays_free() -> None:
    slots, log = Slots(2), list[Waiter]()
    holder = taken(slots, 2)
    waiters = [Waiter(slots, 0, log) for _ in range(3)]
    for waiter in waiters:
        slots.wait(waiter.account)
    slots.give_back(holder, 0.0)
    assert slots.free == 1
    assert log == waiters


def test_one_slot_that_is_given_back_may_be_several_by_the_time_a_waiter_is_called() -> None:
    slots, log = Slots(2), list[Waiter]()
    holder = taken(slots, 2)
    greedy = Waiter(slots, 2, log)
    ending = slots.account(lambda: slots.give_back(holder, 0.0))  # a waiter whose own work ends just then
    slots.wait(ending)
    slots.wait(greedy.account)
    slots.give_back(holder, 0.0)
    assert greedy.wants == 0
    assert slots.free == 0


def test_asking_twice_is_asking_once_and_keeps_the_place() -> None:
    slots, log = Slots(1), list[Waiter]()
    holder = taken(slots)
    first, second = Waiter(slots, 1, log), Waiter(slots, 1, log)
    for waiter in (first, second, first):
        slots.wait(waiter.account)
    slots.give_back(holder, 0.0)
    slots.give_back(first.account, 0.0)
    slots.give_back(second.account, 0.0)
    assert log == [first, second]


def test_who_is_forgotten_is_not_called() -> None:
    slots, log = Slots(1), list[Waiter]()
    holder = taken(slots)
    waiter = Waiter(slots, 1, log)
    slots.wait(waiter.account)
    slots.forget(waiter.account)
    slots.forget(waiter.account)
    slots.give_back(holder, 0.0)
    assert log == []


def test_taking_what_is_not_free_is_a_bug() -> None:
    slots = Slots(1)
    holder = taken(slots)
    with pytest.raises(AssertionError, match="a slot is taken only where one is free"):
        slots.take(holder)


def test_giving_back_what_was_not_taken_is_a_bug() -> None:
    slots = Slots(1)
    with pytest.raises(AssertionError, match="a slot is given back once"):
        slots.give_back(slots.account(lambda: None), 0.0)


def test_slots_describe_themselves() -> None:
    slots = Slots(3)
    slots.wait(taken(slots))
    assert repr(slots) == "<Slots 2 of 3 free, 1 waiting>"


def test_slots_are_shared_from_when_another_wants_one_until_he_has_had_none_for_long() -> None:
    slots = Slots(1)
    own, other = slots.account(lambda: None), slots.account(lambda: None)

    def take(account: Account, times: int = 1) -> None:
        for _ in range(times):
            slots.take(account)
            slots.give_back(account, 0.0)

    take(own, 300)
    assert not slots.shared(own)
    slots.wait(own)
    assert not slots.shared(own), "he waits for himself"
    slots.wait(other)
    assert slots.shared(own)
    slots.forget(own)
    assert slots.shared(own)
    slots.forget(other)
    assert not slots.shared(own)
    take(other)
    assert slots.shared(own)
    take(own, 255)
    assert slots.shared(own)
    take(own, 2)
    assert not slots.shared(own)
    assert slots.shared(other)
    take(other, 300)
    assert slots.shared(own)
    assert not slots.shared(other)
