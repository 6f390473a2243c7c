"""What each operation makes of what is wanted, whatever came before."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_server.lifecycle import desired as wanted
from shoal_server.lifecycle.desired import Desired

VERSIONS = st.integers(1, 5)
WANTED = st.builds(
    lambda versions, previous, labels, current: Desired(
        tuple(sorted(versions)), current if current in versions else 0, previous, labels
    ),
    st.sets(VERSIONS),
    st.none() | VERSIONS,
    st.dictionaries(st.sampled_from(["a", "b"]), VERSIONS),
    VERSIONS,
)


@given(WANTED, VERSIONS, st.integers(0, 5))
def test_after_a_swap_the_version_answers_and_what_it_replaced_is_only_previous(
    before: Desired, version: int, replaced: int
) -> None:
    after = wanted.swapped(before, version, replaced)
    assert after.versions is not None
    assert before.versions is not None
    assert after.current == version
    assert set(after.versions) == (set(before.versions) - {before.current, replaced}) | {version}
    assert after.previous == (replaced if replaced not in {0, version} else None)
    assert after.labels == before.labels


@given(WANTED, VERSIONS, VERSIONS)
def test_a_rollback_undoes_a_swap(before: Desired, version: int, replaced: int) -> None:
    if before.current != replaced or version in (before.versions or ()):
        return
    after = wanted.rolled_back(wanted.swapped(before, version, replaced), version)
    assert (after.versions, after.current, after.previous) == (before.versions, before.current, None)


@given(WANTED, VERSIONS)
def test_what_was_loaded_and_is_unloaded_leaves_nothing_behind(before: Desired, version: int) -> None:
    loaded = wanted.loaded(before, version)
    assert loaded.current == before.current
    after = wanted.unloaded(loaded, version)
    assert version not in (after.versions or ())
    assert version not in {after.current, after.previous, *after.labels.values()}
    assert after.versions == tuple(sorted(after.versions or ()))


@given(WANTED, VERSIONS)
def test_a_label_stands_for_the_last_version_that_it_was_given(before: Desired, version: int) -> None:
    after = wanted.labelled(before, "a", version)
    assert after.labels["a"] == version
    assert after == wanted.loaded(after, version)
    assert "a" not in wanted.labelled(after, "a", 0).labels


@given(WANTED, st.sets(VERSIONS))
def test_the_policy_is_followed_again_but_for_labels_of_what_serves(before: Desired, ready: set[int]) -> None:
    after = wanted.following(before, ready)
    assert (after.versions, after.current, after.previous) == (None, None, None)
    assert after.labels == {label: version for label, version in before.labels.items() if version in ready}
    assert after.empty == (not after.labels)


def test_a_model_that_follows_its_policy_is_pinned_to_what_serves() -> None:
    assert wanted.pinned(Desired(labels={"a": 1}), [2, 1], 2) == Desired((1, 2), 2, None, {"a": 1})
    assert wanted.pinned(wanted.stopped(), [2, 1], 2) == wanted.stopped()
