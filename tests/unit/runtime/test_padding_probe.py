"""The probe of padding against functions of numpy; against real models in tests/integration/serving/test_lengths.py."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import AnswerOptions, BatchingMode, BatchingOptions, BatchInvariance, Generate
from shoal_server.runtime.batch_probe import Finding, row_symbols
from shoal_server.runtime.made_up import Profile, Recipe
from shoal_server.runtime.padding_probe import PaddingProbe
from shoal_server.runtime.variable_lengths import Varying, find_varying
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.spec import Signature, TensorSpec

Floats = npt.NDArray[Any]
INPUTS = (
    TensorSpec("x", DataType.FP32, ("N", "L")),
    TensorSpec("mask", DataType.INT64, ("N", "L")),
    TensorSpec("length", DataType.INT64, ("N",)),
)
COLUMNS = (Column("x", 1, 3.0, None), Column("mask", 1, 0, Generate.MASK), Column("length", 0, 0, Generate.LENGTH))
MEAN = TensorSpec("mean", DataType.FP32, ("N",))
STATES = TensorSpec("states", DataType.FP32, None)


def mean(x: Floats, mask: Floats, _length: Floats) -> list[Floats]:
    return [(x * mask).sum(1) / mask.sum(1)]


def mean_by_length(x: Floats, _mask: Floats, length: Floats) -> list[Floats]:
    there = np.arange(x.shape[1]) < length[:, None]
    return [(x * there).sum(1) / length]


def blind(x: Floats, _mask: Floats, _length: Floats) -> list[Floats]:
    return [x.mean(1)]


def doubled(x: Floats, mask: Floats, length: Floats) -> list[Floats]:
    return [*mean(x, mask, length), x * 2]


def summed_up_from_behind(x: Floats, mask: Floats, length: Floats) -> list[Floats]:
    return [*mean(x, mask, length), x[:, ::-1].cumsum(1)[:, ::-1]]


def executing(function: Callable[[Floats, Floats, Floats], list[Floats]], least: int = 0) -> Callable[..., list[Array]]:
    def execute(arrays: Sequence[Array | None]) -> list[Array]:
        x, mask, length = arrays
        assert x is not None
        assert mask is not None
        assert length is not None
        if x.shape[1] < least:
            raise ExecutionFailed(f"at least {least} are needed")
        return [np.asarray(output, np.float32) for output in function(x, mask, length)]

    return execute


def signature_of(*outputs: TensorSpec, cuts: tuple[int, ...] = (0,), max_length: int = 0) -> Signature:
    return Signature(INPUTS, outputs, batched=True, lengths=Lengths(COLUMNS, cuts, max_length))


RECIPE_PROFILE = Profile.ORDINARY
RECIPE = Recipe(INPUTS, row_symbols(INPUTS), {"L": 8}, ())


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (mean, signature_of(MEAN)),
        (mean_by_length, signature_of(MEAN)),
        (doubled, signature_of(MEAN, STATES, cuts=(0, 1))),
        (mean, signature_of(MEAN, max_length=5)),  # shorter than most pairs
    ],
)
def test_padding_that_the_mask_or_the_length_hides_is_safe(
    function: Callable[..., list[Floats]], signature: Signature
) -> None:
    assert PaddingProbe(executing(function), signature).find(RECIPE) == ""


@pytest.mark.parametrize(
    ("function", "signature", "why"),
    [
        (blind, signature_of(MEAN), "in output 'mean' of a row of length 5, "),
        (
            doubled,
            signature_of(MEAN, STATES, cuts=(0, 0)),
            "a row of length 5 of output 'states' has shape [5] alone, [8] among rows padded to length 8",
        ),
        (
            summed_up_from_behind,
            signature_of(MEAN, STATES, cuts=(0, 1)),
            "in output 'states' of a row of length 5, ",
        ),
        (
            doubled,
            signature_of(MEAN, STATES, cuts=(1, 0)),
            "rows of lengths (8, 5, 5) run alone and not padded: output",
        ),
    ],
)
def test_padding_that_shows_is_found_out_and_said(
    function: Callable[..., list[Floats]], signature: Signature, why: str
) -> None:
    assert PaddingProbe(executing(function), signature).find(RECIPE).startswith(why)


def test_lengths_that_the_model_does_not_run_at_tell_nothing() -> None:
    assert PaddingProbe(executing(mean, least=6), signature_of(MEAN)).find(RECIPE) == "", "other pairs do"
    found = PaddingProbe(executing(mean, least=100), signature_of(MEAN)).find(RECIPE)
    assert found == "made-up rows of no two lengths ran: at least 100 are needed"


def definition_of(
    mode: BatchingMode = BatchingMode.AUTO, invariance: BatchInvariance = BatchInvariance.NEVER
) -> ModelDefinition:
    return ModelDefinition(
        "m",
        {1: Path("model.onnx")},
        batching=BatchingOptions(mode=mode),
        answers=AnswerOptions(batch_invariant=invariance),
    )


def varying(
    function: Callable[..., list[Floats]], definition: ModelDefinition, *, batched: bool = True, recipe: bool = True
) -> Varying:
    finding = Finding(batched=batched, reason="so it is")
    return find_varying(signature_of(MEAN), definition, finding, RECIPE if recipe else None, executing(function))


@pytest.mark.parametrize(
    ("found", "padded", "remark"),
    [
        (varying(mean, definition_of()), True, "lengths are padded: no trial changed an answer"),
        (varying(blind, definition_of(BatchingMode.ALWAYS)), True, "lengths are padded: its owner vouches for it"),
        (varying(blind, definition_of()), False, "lengths are not padded: in output 'mean' of a row of length 5, "),
        (varying(mean, definition_of(), batched=False), False, "lengths are not padded: rows are not batched"),
        (
            varying(mean, definition_of(), recipe=False),
            False,
            "lengths are not padded: nothing could be made up to find out",
        ),
        (
            varying(mean, definition_of(invariance=BatchInvariance.AUTO)),
            False,
            "lengths are not padded: its owner wants answers that do not depend on the batch in any bit",
        ),
    ],
)
def test_whether_lengths_are_padded_is_said_with_its_reason(found: Varying, padded: bool, remark: str) -> None:  # noqa: FBT001 - a parameter
    assert found.padded is padded
    assert found.remark.startswith(remark)


def test_batches_that_are_timed_begin_with_short_rows_which_show_the_base_cost() -> None:
    found = varying(mean, definition_of())
    trials = found.batches(BatchingOptions(), 4)
    assert [(trial.cells, trial.rows) for trial in trials] == [(8, 1), (16, 1), (32, 1), (64, 1), (128, 2), (256, 4)]
    random = np.random.default_rng(0)
    for trial in trials:
        x, mask, length = trial.recipe.draw(random, RECIPE_PROFILE, trial.rows)
        assert x is not None
        assert mask is not None
        assert length is not None
        assert x.size == trial.cells
        assert mask.all(), "nothing is hidden"
        assert (length == x.shape[1]).all()
    sizes = [trial.cells for trial in found.batches(BatchingOptions(allowed_rows=(4,)), 4)]
    assert sizes == [32, 64, 128, 256, 256, 256]
    assert not varying(mean, definition_of(), recipe=False).batches(BatchingOptions(), 4)
