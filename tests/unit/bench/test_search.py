"""The search for the capacity, against servers whose capacity is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_bench.capacity import Found, Outcome, Search, Try


def searched(search: Search, limit: float, generator: float = math.inf) -> tuple[Found, list[float]]:
    """Search at a server that holds up to ``limit``, by a generator that is good for ``generator`` calls per second."""
    tried: list[float] = []
    while isinstance(step := search.next(), Try):
        tried.append(step.rate)
        assert len(tried) < 100, "it ends"
        if step.rate > generator:
            search.learn(Outcome.GENERATOR_LIMIT)
        else:
            search.learn(Outcome.HELD if step.rate <= limit else Outcome.FAILED)
    return step, tried


@given(st.floats(1.2, 100_000), st.floats(1, 100_000))
def test_the_capacity_is_found_to_the_precision(limit: float, first: float) -> None:
    found, tried = searched(Search(first), limit)
    assert found.rate is not None
    assert found.rate <= limit <= found.rate * 1.051
    assert not found.at_least
    assert len(tried) < 60


@given(st.floats(10, 100_000), st.floats(1.2, 100_000), st.floats(1, 1000))
def test_above_what_the_generator_can_do_the_result_is_only_a_lower_bound(
    limit: float, generator: float, first: float
) -> None:
    found, tried = searched(Search(first), limit, generator)
    if found.rate is not None:
        assert found.rate <= min(limit, generator)
        assert found.at_least or found.rate * 1.051 >= limit
    elif limit > 1.1:
        assert generator < max(tried)


def test_a_server_that_holds_no_rate_has_no_capacity() -> None:
    assert searched(Search(64), 0.0)[0] == Found(None, at_least=False)


def test_one_interruption_does_not_decide() -> None:
    search = Search(100, highest_rate=100)
    search.learn(Outcome.FAILED)
    assert search.next() == Try(100)
    search.learn(Outcome.HELD)
    assert search.next() == Found(100, at_least=True)


@pytest.mark.parametrize(("first", "highest", "precision"), [(0.5, 10, 0.1), (20, 10, 0.1), (1, 10, 0), (1, 10, 1)])
def test_a_search_that_cannot_be_is_refused(first: float, highest: float, precision: float) -> None:
    with pytest.raises(ValueError, match="first_rate"):
        Search(first, highest, precision)
