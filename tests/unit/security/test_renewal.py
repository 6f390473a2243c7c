import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.security.material import Material, UnusableMaterial
from shoal_server.security.renewal import PATIENCE_LOOKS, Renewal
from shoal_server.transport.port import TlsMaterial


def good(digest: str) -> Material:
    return Material(TlsMaterial(digest.encode(), b"key"), digest, digest, ())


BAD = UnusableMaterial("the key is not that of the certificate")


def test_what_is_good_is_used_at_the_first_look() -> None:
    renewal = Renewal("a")
    assert renewal.unchanged("a")
    assert not renewal.unchanged("b")
    assert renewal.decide("b", good("b")) == good("b")
    assert renewal.unchanged("b")
    assert not renewal.unchanged("a")


def test_what_is_half_written_is_given_two_looks_and_then_used_without_a_word() -> None:
    renewal = Renewal("a")
    assert [renewal.decide("half", BAD) for _ in range(PATIENCE_LOOKS)] == [None, None]
    assert renewal.decide("whole", good("whole")) == good("whole")


def test_what_stays_unusable_is_refused_once() -> None:
    renewal = Renewal("a")
    assert [renewal.decide("bad", BAD) for _ in range(10)] == [None, None, BAD, *[None] * 7]


def test_another_unusable_set_is_refused_as_well() -> None:
    renewal = Renewal("a")
    assert [renewal.decide(digest, BAD) for digest in ["x"] * 3 + ["y"] * 3] == [None, None, BAD] * 2


def test_what_was_refused_is_used_when_time_has_made_it_valid() -> None:
    renewal = Renewal("a")
    refusals = [renewal.decide("early", BAD) for _ in range(5)]
    assert refusals.count(BAD) == 1
    assert renewal.decide("early", good("early")) == good("early")


def test_going_back_to_what_is_in_use_ends_the_doubt() -> None:
    renewal = Renewal("a")
    for _ in range(2):
        assert renewal.decide("bad", BAD) is None
    assert renewal.unchanged("a")
    assert [renewal.decide("bad", BAD) for _ in range(3)] == [None, None, BAD]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60))
def test_only_what_is_good_is_ever_used_and_each_run_of_the_unusable_is_refused_at_most_once(
    looks: list[tuple[str, bool]],
) -> None:
    renewal, used = Renewal("a"), "a"
    refusals = 0
    for digest, fine in looks:
        if renewal.unchanged(digest):
            assert digest == used
            continue
        decision = renewal.decide(digest, good(digest) if fine else BAD)
        if isinstance(decision, Material):
            assert fine
            used = digest
        refusals += decision is BAD
    runs = itertools.groupby(looks, key=lambda look: look[0])
    assert refusals <= sum(len(list(run)) > PATIENCE_LOOKS for _, run in runs)


@pytest.mark.parametrize("used", ["a", "b"])
def test_the_first_contents_are_those_in_use(used: str) -> None:
    assert Renewal("a").unchanged(used) == (used == "a")
