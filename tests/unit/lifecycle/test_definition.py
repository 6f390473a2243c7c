from dataclasses import replace
from pathlib import Path

import pytest

from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.options import BatchingOptions, RuntimeOptions

PRESENT = {version: Path(str(version)) for version in (3, 1, 10)}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(), (10,)),
        (VersionPolicy(latest=2), (3, 10)),
        (VersionPolicy(latest=9), (1, 3, 10)),
        (VersionPolicy(latest=0), (1, 3, 10)),
        (VersionPolicy(specific=(10, 1)), (1, 10)),
        (VersionPolicy(specific=(1, 7)), (1,)),
        (VersionPolicy(specific=(7,)), ()),
    ],
)
def test_the_policy_selects_versions_in_order_of_their_numbers(policy: VersionPolicy, served: tuple[int, ...]) -> None:
    assert ModelDefinition("m", PRESENT, policy).wanted == served


def test_nothing_is_wanted_where_nothing_is_present() -> None:
    assert ModelDefinition("m", {}).wanted == ()


BASE = ModelDefinition("m", PRESENT)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(BASE, policy=VersionPolicy(latest=0)), True),
        (replace(BASE, warnings=("mind",)), True),
        (replace(BASE, versions={1: Path("1"), 2: Path("2")}), True),
        (replace(BASE, versions={1: Path("elsewhere")}), False),
        (replace(BASE, batching=BatchingOptions(delay_s=0.1)), False),
        (replace(BASE, runtime=RuntimeOptions(instances=2)), False),
        (replace(BASE, config=b"x"), False),
    ],
)
def test_a_version_is_served_in_the_same_way_unless_its_own_file_or_the_options_changed(
    other: ModelDefinition,
    same: bool,  # noqa: FBT001
) -> None:
    assert BASE.same_serving(other, 1) is same
