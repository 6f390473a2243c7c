import pytest

from shoal_server.errors import NotFound, ShoalError, Unavailable
from shoal_server.lifecycle.catalog import PREVIOUS, STABLE, Catalog, ModelEntry
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_testing.fakes import definition


class Engine:
    def hurry(self) -> None:
        pass

    def fail_waiting(self, error: ShoalError) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def slots_of(states: dict[int, VersionState], model: str = "m") -> dict[int, VersionSlot[Engine]]:
    slots = {}
    for version, state in states.items():
        slots[version] = VersionSlot[Engine](model, version, version, definition(model, version))
        slots[version].state = state
    return slots


READY, FAILED, DRAINING = VersionState.READY, VersionState.FAILED, VersionState.DRAINING


@pytest.mark.parametrize(
    ("states", "version", "resolved"),
    [
        ({1: READY, 2: READY}, "", 2),
        ({1: READY, 2: READY}, "1", 1),
        ({1: READY, 2: READY}, "01", 1),
        ({1: READY, 2: READY}, "0" * 17 + "1", 1),
        ({2: READY, 1: READY}, "", 2),
        ({1: READY, 2: DRAINING, 3: FAILED}, "", 1),
        ({1: READY, 2: DRAINING}, "2", 2),  # it is there; whether it serves is for its lease to say
        ({10: READY, 9: READY}, "", 10),
    ],
)
def test_a_name_and_a_version_lead_to_one_slot(states: dict[int, VersionState], version: str, resolved: int) -> None:
    catalog = Catalog({"m": ModelEntry(slots_of(states))})
    assert catalog.resolve("m", version).version == resolved


@pytest.mark.parametrize("model", ["", " ", "../m", "M", "m\x00", "x" * 10_000])
@pytest.mark.parametrize("version", ["", "1"])
def test_an_unknown_model_is_not_found_and_the_text_stays_short(model: str, version: str) -> None:
    catalog = Catalog({"m": ModelEntry(slots_of({1: READY}))})
    with pytest.raises(NotFound, match="unknown model") as failure:
        catalog.resolve(model, version)
    assert len(str(failure.value)) < 150


@pytest.mark.parametrize(
    "version", ["2", "-1", "latest", "1.0", " 1", "1 ", "²", "٣", "9" * 100, "0" * 18 + "1", "1\x00", "1_0"]
)
def test_an_unknown_version_is_not_found_and_the_text_names_those_that_exist(version: str) -> None:
    catalog = Catalog({"m": ModelEntry(slots_of({1: READY, 3: READY}))})
    with pytest.raises(NotFound, match=r"model 'm' has no version .*; it has \[1, 3\]") as failure:
        catalog.resolve("m", version)
    assert len(str(failure.value)) < 150


@pytest.mark.parametrize(
    ("states", "problem", "text"),
    [
        ({}, "", "model 'm' has no ready version"),
        ({}, "no such file", "model 'm' has no ready version: no such file"),
        ({1: FAILED, 2: DRAINING}, "", "model 'm' has no ready version: version 1 is failed; version 2 is draining"),
    ],
)
def test_a_model_without_a_ready_version_is_unavailable_and_the_text_says_why(
    states: dict[int, VersionState], problem: str, text: str
) -> None:
    catalog = Catalog({"m": ModelEntry(slots_of(states), problem)})
    with pytest.raises(Unavailable) as failure:
        catalog.resolve("m", "")
    assert str(failure.value) == text


@pytest.mark.parametrize(
    ("states", "current", "problem", "text"),
    [
        ({1: READY}, 0, "", "answers no calls without a version: none was chosen; ready: 1"),
        ({1: FAILED, 2: READY}, 1, "", "answers no calls without a version: version 1 is to, and is failed; ready: 2"),
        (
            {2: READY, 3: READY},
            1,
            "",
            "answers no calls without a version: version 1 is to, and is not there; ready: 2, 3",
        ),
        ({1: FAILED}, 0, "", "has no ready version: version 1 is failed"),
        ({1: FAILED}, 0, "model.toml is wrong", "has no ready version: model.toml is wrong"),
    ],
)
def test_a_model_of_which_not_the_chosen_version_is_ready_says_so_where_another_is(
    states: dict[int, VersionState], current: int, problem: str, text: str
) -> None:
    catalog = Catalog({"m": ModelEntry(slots_of(states), problem, desired=Desired((1,), current))})
    with pytest.raises(Unavailable) as failure:
        catalog.resolve("m", "")
    assert str(failure.value) == f"model 'm' {text}"


def test_a_catalog_lists_its_slots_by_name_and_number() -> None:
    catalog = Catalog({name: ModelEntry(slots_of({1: READY, 2: READY}, name)) for name in ("b", "a")})
    assert [(slot.model, slot.version) for slot in catalog.slots()] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


def test_a_catalog_with_another_entry_leaves_the_first_as_it_was() -> None:
    before = Catalog({"a": ModelEntry(slots_of({1: READY}, "a"))})
    after = before.with_model("b", ModelEntry(slots_of({2: READY}, "b")))
    assert [(slot.model, slot.version) for slot in after.slots()] == [("a", 1), ("b", 2)]
    assert [(slot.model, slot.version) for slot in before.slots()] == [("a", 1)]
    assert after.resolve("b", "").version == 2


def test_another_entry_is_taken_in_without_a_look_at_the_others() -> None:
    looked_at = 0

    class Watched(ModelEntry[Engine]):
        @property
        def newest_ready(self) -> VersionSlot[Engine] | None:
            nonlocal looked_at
            looked_at += 1
            return self.versions[1]

    before = Catalog({"a": Watched(slots_of({1: READY}, "a"))})
    looked_at = 0
    after = before.with_model("b", ModelEntry(slots_of({1: READY}, "b"))).with_model("c", ModelEntry())
    assert looked_at == 0
    assert after.resolve("a", "").model == "a"
    assert after.with_model("b", ModelEntry(slots_of({1: READY, 2: READY}, "b"))).resolve("b", "").version == 2


def test_an_entry_without_a_ready_version_takes_the_place_of_one_that_had_one() -> None:
    catalog = Catalog({"m": ModelEntry(slots_of({1: READY}))}).with_model("m", ModelEntry(slots_of({1: FAILED})))
    with pytest.raises(Unavailable):
        catalog.resolve("m", "")


def test_the_newest_version_is_that_of_the_moment_the_catalog_was_made() -> None:
    slots = slots_of({1: READY, 2: READY})
    catalog = Catalog({"m": ModelEntry(slots)})
    slots[2].state = DRAINING
    assert catalog.resolve("m", "").version == 2
    assert Catalog(catalog.models).resolve("m", "").version == 1


def test_stable_is_the_version_that_answers_be_it_wanted_or_standing_in() -> None:
    desired = Desired((2,), 2, previous=1)
    for states, answering in (({1: READY, 2: READY}, 2), ({1: READY, 2: FAILED}, 1)):
        entry = ModelEntry(slots_of(states), desired=desired, stand_in=1)
        assert entry.labels == {STABLE: answering, PREVIOUS: 1}
        assert Catalog({"m": entry}).resolve("m", STABLE).version == answering


def test_a_label_of_a_version_that_is_not_loaded_is_unavailable() -> None:
    entry = ModelEntry(slots_of({2: READY}), desired=Desired((2,), 2, labels={"blue": 1}))
    with pytest.raises(Unavailable, match="label 'blue' of model 'm' is version 1, which is not loaded"):
        Catalog({"m": entry}).resolve("m", "blue")
