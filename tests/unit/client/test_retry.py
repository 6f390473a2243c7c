"""When a failed call is sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.errors import ConfigurationError
from shoal_client.retry import Failed, Pushback, RetryBudget, RetryOptions, may_mend, read_pushback, retry_delay_s

OPTIONS = RetryOptions(max_attempts=4, first_delay_s=0.1, multiplier=2, max_delay_s=0.3, budget=10, refill=0.5)
NEVER = Pushback(None)


def delay(  # noqa: PLR0913 - all that the decision rests on
    failed: Failed,
    *,
    attempts: int = 1,
    idempotent: bool = True,
    remaining_s: float = 10.0,
    jitter: float = 0.5,
    budget: RetryBudget | None = None,
) -> float | None:
    return retry_delay_s(
        OPTIONS,
        budget or RetryBudget(OPTIONS),
        failed,
        attempts=attempts,
        idempotent=idempotent,
        remaining_s=remaining_s,
        jitter=jitter,
    )


@pytest.mark.parametrize(
    ("status", "pushback", "wanted"),
    [
        ("UNAVAILABLE", None, 0.1),
        ("UNAVAILABLE", Pushback(0.4), 0.4),
        ("UNAVAILABLE", Pushback(0.0), 0.0),
        ("UNAVAILABLE", NEVER, None),
        ("RESOURCE_EXHAUSTED", None, None),
        ("RESOURCE_EXHAUSTED", Pushback(0.4), 0.4),
        ("RESOURCE_EXHAUSTED", NEVER, None),
        ("INVALID_ARGUMENT", Pushback(0.1), None),
        ("INTERNAL", None, None),
        ("DEADLINE_EXCEEDED", Pushback(0.1), None),
        ("CANCELLED", None, None),
        ("UNKNOWN", None, None),
    ],
)
def test_only_what_says_elsewhere_or_later_is_sent_again(
    status: str, pushback: Pushback | None, wanted: float | None
) -> None:
    assert delay(Failed(status, pushback)) == wanted
    assert may_mend(Failed(status, pushback)) == (wanted is not None)


def test_where_nobody_was_reached_and_there_is_another_it_is_asked_at_once_whatever_the_budget() -> None:
    budget = RetryBudget(OPTIONS)
    while budget.allows:
        budget.failed()
    failed = Failed("UNAVAILABLE", elsewhere=True)
    assert delay(failed, budget=budget) == 0.0
    assert delay(failed, budget=budget, attempts=4) is None
    assert delay(failed, budget=budget, idempotent=False) is None
    assert delay(failed, budget=budget, remaining_s=0.0) is None
    assert delay(Failed("UNAVAILABLE"), budget=budget) is None


def test_waits_grow_up_to_the_longest_and_are_spread() -> None:
    failed = Failed("UNAVAILABLE")
    assert [delay(failed, attempts=attempts) for attempts in (1, 2, 3, 4)] == [0.1, 0.2, 0.3, None]
    assert delay(failed, jitter=0.0) == 0.05
    assert delay(failed, attempts=3, jitter=0.999) == pytest.approx(0.4497)


def test_what_is_not_idempotent_is_never_sent_again() -> None:
    assert delay(Failed("UNAVAILABLE", Pushback(0.0)), idempotent=False) is None


def test_a_wait_that_would_outlast_the_call_is_not_begun() -> None:
    assert delay(Failed("UNAVAILABLE", Pushback(2.0)), remaining_s=2.0) is None
    assert delay(Failed("UNAVAILABLE", Pushback(2.0)), remaining_s=2.1) == 2.0


def test_an_empty_budget_stops_retries_until_successes_have_filled_it() -> None:
    budget = RetryBudget(OPTIONS)
    failed = Failed("UNAVAILABLE")
    sent_again = 0
    while True:
        budget.failed()
        if delay(failed, budget=budget) is None:
            break
        sent_again += 1
    assert sent_again == 4  # 9, 8, 7, 6, and not 5 of 10
    budget.succeeded()
    assert delay(failed, budget=budget) is not None
    for _ in range(100):
        budget.succeeded()
    assert budget.tokens == 10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("0", Pushback(0.0)),
        ("250", Pushback(0.25)),
        (" 250 ", Pushback(0.25)),
        ("-1", NEVER),
        ("", NEVER),
        ("soon", NEVER),
        ("1.5", NEVER),
        ("²", NEVER),
        ("99999999999", NEVER),
    ],
)
def test_a_hint_that_is_negative_or_no_number_means_never(text: str | None, wanted: Pushback | None) -> None:
    assert read_pushback(text) == wanted


@given(st.text())
def test_any_hint_can_be_read(text: str) -> None:
    hint = read_pushback(text)
    assert hint is not None
    assert hint.delay_s is None or hint.delay_s >= 0


@given(
    failures=st.lists(st.booleans(), max_size=200),
    attempts=st.integers(1, 10),
    jitter=st.floats(0, 1, exclude_max=True),
    remaining_s=st.floats(0, 100),
)
def test_a_wait_is_bounded_and_ends_before_the_call_whatever_happened(
    failures: list[bool], attempts: int, jitter: float, remaining_s: float
) -> None:
    budget = RetryBudget(OPTIONS)
    for failed in failures:
        if failed:
            budget.failed()
        else:
            budget.succeeded()
        assert 0 <= budget.tokens <= OPTIONS.budget
    waits = delay(Failed("UNAVAILABLE"), attempts=attempts, jitter=jitter, remaining_s=remaining_s, budget=budget)
    if waits is not None:
        assert 0 < waits < remaining_s
        assert waits <= 1.5 * OPTIONS.max_delay_s
        assert attempts < OPTIONS.max_attempts
        assert budget.tokens > OPTIONS.budget / 2


@given(st.lists(st.booleans(), min_size=1))
def test_retries_are_at_most_the_burst_and_a_share_of_the_successes(answered: list[bool]) -> None:
    budget = RetryBudget(OPTIONS)
    again = successes = 0
    for success in answered:
        if success:
            budget.succeeded()
            successes += 1
        else:
            budget.failed()
            again += delay(Failed("UNAVAILABLE"), budget=budget) is not None
    assert again <= OPTIONS.budget / 2 + OPTIONS.refill * successes


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"first_delay_s": 0.0},
        {"first_delay_s": 3.0},
        {"multiplier": 0.5},
        {"budget": 0.0},
        {"refill": 0.0},
        {"refill": 2.0},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        RetryOptions(**wrong)  # type: ignore[arg-type]
