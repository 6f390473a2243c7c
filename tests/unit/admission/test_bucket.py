"""The token bucket, in a table and as a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.admission.bucket import TokenBucket


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(10.0, 3.0, 0.0)
    for _ in range(3):
        assert bucket.wait_s(0.0, 1) == 0.0
        bucket.take(1)
    assert bucket.wait_s(0.0, 1) == pytest.approx(0.1)
    assert bucket.wait_s(0.05, 1) == pytest.approx(0.05)
    assert bucket.wait_s(0.1, 1) == pytest.approx(0.0, abs=1e-9)
    assert not bucket.full(0.1)
    assert bucket.full(0.3)


def test_more_than_a_burst_never_passes() -> None:
    assert TokenBucket(10.0, 3.0, 0.0).wait_s(1e9, 4) == float("inf")


@given(
    st.floats(0.1, 1000),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), max_size=100),
)
def test_never_does_more_pass_than_the_burst_and_the_rate(
    rate: float, burst: float, course: list[tuple[float, int]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = passed = 0.0
    for pause_s, amount in course:
        now += pause_s
        wait_s = bucket.wait_s(now, amount)
        if not wait_s:
            bucket.take(amount)
            passed += amount
        elif amount <= burst:
            assert bucket.wait_s(now + wait_s * (1 + 1e-9) + 1e-9, amount) == 0.0, "and it passes when it was told"
            now += wait_s * (1 + 1e-9) + 1e-9
        assert passed <= (burst + rate * now) * (1 + 1e-6)
