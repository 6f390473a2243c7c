"""What each caller may have."""

import pytest

from shoal_server.admission import callers as module
from shoal_server.admission.callers import Callers, Room
from shoal_server.errors import Overloaded
from shoal_server.options import CallerOptions, QuotaOptions

WIDE = Room(1000, 1000, 1000)


def refusal(callers: Callers, caller: str, rows: int = 1, now: float = 0.0, room: Room = WIDE) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        callers.admit(caller, rows, 1, now, room)
    return caught.value


def test_a_quota_of_concurrency_is_for_each_and_places_come_back() -> None:
    callers = Callers(CallerOptions(quotas={"a": QuotaOptions(concurrency=2)}, quota=QuotaOptions(concurrency=1)))
    first = callers.admit("a", 1, 1, 0.0, WIDE)
    callers.admit("a", 1, 1, 0.0, WIDE)
    callers.admit("b", 1, 1, 0.0, WIDE)
    callers.admit("c", 1, 1, 0.0, WIDE)
    assert "quota of 2 requests at once" in str(refusal(callers, "a"))
    assert "quota of 1 requests at once" in str(refusal(callers, "b"))
    callers.release(first, 1, 1)
    callers.admit("a", 1, 1, 0.0, WIDE)


def test_a_quota_of_requests_or_rows_a_second_says_when_to_come_back() -> None:
    callers = Callers(CallerOptions(quota=QuotaOptions(requests_per_s=10.0, rows_per_s=100.0, burst_s=0.5)))
    for _ in range(5):
        callers.admit("a", 1, 1, 0.0, WIDE)
    requests = refusal(callers, "a")
    assert "quota of 10 requests a second" in str(requests)
    assert requests.retry_after_s == pytest.approx(0.1)
    callers.admit("b", 50, 1, 0.0, WIDE)
    rows = refusal(callers, "b", rows=20)
    assert "quota of 100 rows a second" in str(rows)
    assert rows.retry_after_s == pytest.approx(0.2)
    callers.admit("b", 20, 1, 0.21, WIDE)


def test_what_exceeds_a_burst_is_never_to_be_sent_again() -> None:
    callers = Callers(CallerOptions(quota=QuotaOptions(rows_per_s=10.0)))
    never = refusal(callers, "a", rows=11)
    assert never.retry_after_s == Overloaded.NEVER
    assert "11 at once exceed it" in str(never)


def test_what_is_refused_uses_up_nothing() -> None:
    callers = Callers(CallerOptions(quota=QuotaOptions(requests_per_s=1.0, rows_per_s=10.0)))
    refusal(callers, "a", rows=11)
    callers.admit("a", 10, 1, 0.0, WIDE)


def test_no_caller_holds_more_than_he_leaves_free() -> None:
    callers = Callers(CallerOptions())
    callers.admit("flood", 5, 5, 0.0, Room(2, 10, 10))
    for room in (Room(1, 10, 10), Room(2, 5, 10), Room(2, 10, 5)):
        assert "his share" in str(refusal(callers, "flood", room=room))
        callers.release(callers.admit("quiet", 1, 1, 0.0, room), 1, 1)
    callers.admit("flood", 5, 5, 0.0, Room(2, 10, 10))


def test_callers_are_forgotten_when_that_changes_nothing_and_counted_together_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_CALLERS", 3)
    callers = Callers(CallerOptions(quotas={"vip": QuotaOptions()}, quota=QuotaOptions(requests_per_s=1.0)))
    for number in range(3):
        callers.release(callers.admit(f"gone {number}", 1, 1, 10.0 * number, WIDE), 1, 1)
    assert len(callers) == 3
    names = [callers.admit(f"here {number}", 1, 1, 100.0, WIDE) for number in range(3)]
    assert len(callers) == 3
    assert callers.admit("one too many", 1, 1, 100.0, WIDE) == ""
    assert "a second" in str(refusal(callers, "two too many", now=100.0)), "all these are one"
    assert callers.admit("vip", 1, 1, 100.0, WIDE) == "vip"
    for name in [*names, "", "vip"]:
        callers.release(name, 1, 1)


def test_giving_back_twice_is_a_bug() -> None:
    callers = Callers(CallerOptions())
    name = callers.admit("a", 1, 1, 0.0, WIDE)
    callers.release(name, 1, 1)
    with pytest.raises(AssertionError, match="released once"):
        callers.release(name, 1, 1)
