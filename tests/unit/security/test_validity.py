import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.security.validity import ExpiryWatch, Validity

HOUR = 3600.0
DAY = 24 * HOUR


def told(watch: ExpiryWatch, *nows: float) -> list[float]:
    return [now for now in nows if watch.due(now)]


def test_a_years_certificate_is_told_of_at_30_7_and_1_days_and_when_it_is_over() -> None:
    watch = ExpiryWatch(Validity("a", 0, 365 * DAY))
    hours = [hour * HOUR for hour in range(370 * 24)]
    assert [round(now / DAY, 1) for now in told(watch, *hours)] == [335.0, 358.0, 364.0, 365.0]


def test_a_certificate_that_lives_for_an_hour_is_told_of_in_its_last_minutes() -> None:
    watch = ExpiryWatch(Validity("a", 0, HOUR))
    assert told(watch, 0, 50 * 60, 54 * 60 + 1, 55 * 60, HOUR + 1) == [54 * 60 + 1, HOUR + 1]


def test_several_levels_passed_at_once_are_told_once() -> None:
    watch = ExpiryWatch(Validity("a", 0, 365 * DAY))
    assert told(watch, 364.5 * DAY, 364.6 * DAY) == [364.5 * DAY]


@given(st.lists(st.floats(0, 800 * DAY), max_size=50), st.floats(1, 365 * DAY), st.sampled_from([0.0, HOUR, -HOUR]))
def test_a_clock_that_jumps_repeats_nothing(nows: list[float], life: float, jump: float) -> None:
    watch = ExpiryWatch(Validity("a", 0, life))
    jumping = [now + (jump if number % 2 else 0) for number, now in enumerate(nows)]
    assert len(told(watch, *jumping)) <= 4


@pytest.mark.parametrize(
    ("now", "words"), [(99.0, "is valid only from 1970-01-01 00:01:40 UTC"), (201.0, "has expired on"), (150.0, "")]
)
def test_what_is_wrong_now_names_what_and_when(now: float, words: str) -> None:
    problem = Validity("the certificate of a in b.pem", 100, 200).problem(now)
    assert words in problem
    assert bool(problem) == bool(words)
    assert not problem or problem.startswith("the certificate of a in b.pem ")
