"""What was measured of a model is found for as long as its owner wants it served in the same way."""

from dataclasses import replace
from pathlib import Path

import pytest

from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.ports import Tuning
from shoal_server.options import AnswerOptions, BatchingOptions, BatchInvariance, LengthOptions, RuntimeOptions
from shoal_server.runtime.measured import LastMeasured, Measured, inheritable

MODEL = ModelDefinition("m", {1: Path("1")})
MEASURED = Measured("g", batched=True, tuning=Tuning(2, 1, 16, 64, 0.0, "so"), timings=((1, 0.5),))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (
            replace(MODEL, versions={2: Path("2")}, policy=VersionPolicy(latest=2), warnings=("w",), refused={3: "r"}),
            True,
        ),
        (replace(MODEL, runtime=RuntimeOptions(intra_op_threads=2)), False),
        (replace(MODEL, batching=BatchingOptions(max_rows=8)), False),
        (replace(MODEL, config=b"other"), False),
        (replace(MODEL, name="n"), False),
    ],
)
def test_other_versions_find_it_and_another_way_of_serving_does_not(changed: ModelDefinition, *, found: bool) -> None:
    last = LastMeasured()
    assert last.find(MODEL) is None
    last.remember(MODEL, MEASURED)
    assert (last.find(changed) is MEASURED) is found


def test_the_last_counts_and_the_last_models_are_remembered() -> None:
    last = LastMeasured()
    newer = replace(MEASURED, graph="h")
    last.remember(MODEL, MEASURED)
    last.remember(MODEL, newer)
    for number in range(255):
        last.remember(replace(MODEL, name=f"n{number}"), MEASURED)
    assert last.find(MODEL) is newer
    last.remember(replace(MODEL, name="one more"), MEASURED)
    assert last.find(MODEL) is None


def test_what_is_inherited_says_so() -> None:
    assert MEASURED.inherited == Tuning(2, 1, 16, 64, 0.0, "as an earlier version of the same graph: so")


@pytest.mark.parametrize(
    "definition",
    [
        replace(MODEL, answers=AnswerOptions(batch_invariant=BatchInvariance.AUTO)),
        replace(MODEL, batching=BatchingOptions(lengths=LengthOptions({}))),
    ],
)
def test_what_depends_on_lengths_or_one_size_is_measured_each_time(definition: ModelDefinition) -> None:
    assert inheritable(MODEL)
    assert not inheritable(definition)
