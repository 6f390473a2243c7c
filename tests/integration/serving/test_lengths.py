"""Texts of many lengths on the wire: joined, masked, cut, counted; and declarations and requests that are wrong."""

import json
import re
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from shoal_server.cli.root import run
from shoal_testing import models, text_models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.text_models import DECLARED, WIDTH

CALLERS = 16
Ids = npt.NDArray[np.int64]

SERIES = """
[lengths]
edges = [8, 16, 64]

[lengths.inputs]
values = { axis = 2, pad = 9.5 }
length = { generate = "length" }
"""
WRONG = {
    "axis": ("[lengths.inputs]\nids = { axis = 2 }\n", "axis 2 of input 'ids', which has 2 dimensions"),
    "name": ("[lengths.inputs]\nid = { axis = 1 }\n", "names input 'id', the model has ['ids', 'mask']"),
    "type": ("[lengths.inputs]\nids = { axis = 1, pad = 0.5 }\n", "pads input 'ids', of INT64, with 0.5"),
    "file": ("[lengths.inputs]\nids = { axis = 0 }\n", "'lengths.inputs.ids.axis' is 0, wanted the number"),
}


def write(folder: Path, name: str, model: bytes, options: str) -> None:
    models.save(folder, name, model).parents[1].joinpath("model.toml").write_text(options)


@pytest.fixture(scope="module", params=["grpcio", "native"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    if request.param == "native":
        pytest.importorskip("shoal_native")
    folder = tmp_path_factory.mktemp("models")
    longest = "[lengths]\nmax_length = 100\n"
    write(folder, "sentences", text_models.sentences(), longest + DECLARED)
    write(folder, "blind", text_models.sentences(hides=False), DECLARED)
    write(folder, "series", text_models.series(), SERIES)
    write(folder, "exact", text_models.sentences(), DECLARED + '[answers]\nbatch_invariant = "auto"\n')
    for name, (options, _) in WRONG.items():
        write(folder, f"wrong-{name}", text_models.sentences(), options)
    told = {"prometheus": "127.0.0.1:0"}
    with running_server(folder, transport=request.param, runtime={"slots": 1}, telemetry=told) as running:
        yield running


def ask(
    client: tritonclient.grpc.InferenceServerClient, model: str, **arrays: npt.NDArray[np.generic]
) -> tritonclient.grpc.InferResult:
    inputs = []
    for name, array in arrays.items():
        one = tritonclient.grpc.InferInput(name, array.shape, "FP32" if array.dtype == np.float32 else "INT64")
        one.set_data_from_numpy(array)
        inputs.append(one)
    return client.infer(model, inputs)


def texts(seed: int, count: int) -> list[Ids]:
    random = np.random.default_rng(seed)
    return [random.integers(0, text_models.VOCABULARY, (1, int(random.integers(1, 60)))) for _ in range(count)]


def parameters(client: tritonclient.grpc.InferenceServerClient, model: str) -> dict[str, str]:
    told = client.get_model_config(model, as_json=True)["config"]["parameters"]
    return {name: value["string_value"] for name, value in told.items()}


def all_at_once(running: RunningServer, model: str, asked: Sequence[Ids], *, masks: bool) -> None:
    """Send each text from one of many callers; every answer is what the text gives alone."""
    table = text_models.table()

    def call(share: Sequence[Ids]) -> None:
        with tritonclient.grpc.InferenceServerClient(running.address) as client:
            for ids in share:
                arrays = {"ids": ids, "mask": np.ones_like(ids)} if masks else {"ids": ids}
                answer = ask(client, model, **arrays)
                found = table[ids[0]]
                np.testing.assert_allclose(answer.as_numpy("embedding")[0], found.mean(0), atol=1e-5)
                np.testing.assert_array_equal(answer.as_numpy("states")[0], found)

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(call, [asked[caller::CALLERS] for caller in range(CALLERS)]))


@pytest.mark.parametrize("masks", [False, True])
def test_texts_of_many_lengths_share_batches_and_nobodys_answer_shows_it(
    served: RunningServer,
    seed: int,
    masks: bool,  # noqa: FBT001 - a parameter
) -> None:
    asked = texts(seed, 300)
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        before = parameters(client, "sentences")
        runs = client.get_inference_statistics("sentences").model_stats[0].execution_count
        all_at_once(served, "sentences", asked, masks=masks)
        after = parameters(client, "sentences")
        runs = client.get_inference_statistics("sentences").model_stats[0].execution_count - runs
    cells, padded = (
        int(after[name]) - int(before[name]) for name in ("shoal.lengths.cells", "shoal.lengths.padded_cells")
    )
    assert cells == sum(ids.size for ids in asked)
    assert cells <= padded < 2 * cells, "none was padded beyond its double"
    assert runs < len(asked), "they did share batches"


def test_a_caller_may_send_a_mask_of_his_own_which_holds_among_others(served: RunningServer) -> None:
    table = text_models.table()
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        ids, mask = np.array([[5, 6, 7], [8, 9, 0]], np.int64), np.array([[1, 1, 1], [1, 1, 0]], np.int64)
        answer = ask(client, "sentences", ids=ids, mask=mask).as_numpy("embedding")
    np.testing.assert_allclose(answer, [table[[5, 6, 7]].mean(0), table[[8, 9]].mean(0)], atol=1e-5)


def test_each_rows_length_is_made_up_and_batches_have_the_length_of_the_next_edge(served: RunningServer) -> None:
    random = np.random.default_rng(0)
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        before = parameters(client, "series")
        for steps in (1, 7, 8, 9, 40):
            values = random.random((2, 3, steps), np.float32)
            answer = ask(client, "series", values=values).as_numpy("mean")
            np.testing.assert_allclose(answer, values.mean(2), atol=1e-5)
        with pytest.raises(InferenceServerException, match=r"'values' has length 65 on axis 2; the longest .* is 64"):
            ask(client, "series", values=random.random((1, 3, 65), np.float32))
        after = parameters(client, "series")
    padded = int(after["shoal.lengths.padded_cells"]) - int(before["shoal.lengths.padded_cells"])
    assert padded == 2 * (8 + 8 + 8 + 16 + 64)


def test_where_the_mask_does_not_hide_padding_nothing_is_padded_and_the_reason_is_told(served: RunningServer) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        told = parameters(client, "blind")
        assert "lengths are not padded: in output 'embedding' of a row of length 5" in told["shoal.batching"]
        assert json.loads(told["shoal.lengths"])["padded"] is False
        all_at_once(served, "blind", texts(1, 100), masks=False)
        told = parameters(client, "blind")
    assert told["shoal.lengths.cells"] == told["shoal.lengths.padded_cells"]


def test_where_answers_are_to_be_equal_in_every_bit_nothing_is_padded(served: RunningServer) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        told = parameters(client, "exact")
        assert "lengths are not padded: its owner wants answers that do not depend on" in told["shoal.batching"]
        all_at_once(served, "exact", texts(2, 60), masks=False)


def test_the_configuration_tells_what_may_be_left_out_and_how_lengths_are_served(served: RunningServer) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        config = client.get_model_config("sentences").config
        told = parameters(client, "sentences")
    assert {tensor.name: tensor.optional for tensor in config.input} == {"ids": False, "mask": True}
    lengths = json.loads(told["shoal.lengths"])
    assert lengths.pop("max_cells") >= 256
    assert lengths == {
        "padded": True,
        "inputs": {
            "ids": {"axis": 1, "pad": 0, "generate": None},
            "mask": {"axis": 1, "pad": 0, "generate": "mask"},
        },
        "outputs": {"states": {"axis": 1}},
        "max_length": 100,
        "edges": [],
    }
    assert "lengths are padded: no trial changed an answer" in told["shoal.batching"]
    assert float(told["shoal.cost.cell_us"]) >= 0.0
    assert "shoal.cost.row_us" not in told
    assert told["shoal.invariant"] == "unknown"


def test_operators_see_how_much_was_padding(served: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    all_at_once(served, "sentences", texts(4, 64), masks=False)
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        told = parameters(client, "sentences")
    cells, padded = int(told["shoal.lengths.cells"]), int(told["shoal.lengths.padded_cells"])
    with urllib.request.urlopen(f"http://{served.server.telemetry.prometheus_address}/metrics", timeout=10) as page:
        families = {one.name: one for one in text_string_to_metric_families(page.read().decode())}
    counted = {
        sample.labels["shoal_batch_cells"]: sample.value
        for sample in families["shoal_model_batch_cells"].samples
        if sample.labels["shoal_model_name"] == "sentences" and sample.name.endswith("_total")
    }
    assert counted == {"sent": cells, "padding": padded - cells}
    assert run(["models", "--cost", "--address", served.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  PADDING  COST" in lines[0]
    (line,) = [line for line in lines if line.startswith("sentences ")]
    assert f"  {(padded - cells) / padded:.1%}" in line
    assert re.search(r"us a cell, \+-", line)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        (
            {"ids": np.zeros((1, 101), np.int64)},
            "input 'ids' has length 101 on axis 1; the longest that is taken is 100",
        ),
        (
            {"ids": np.zeros((1, 4), np.int64), "mask": np.ones((1, 5), np.int64)},
            "input 'mask' has 1 rows of length 5 (axis 1), and input 'ids' has 1 of length 4 (axis 1)",
        ),
        (
            {"ids": np.zeros((1, 4), np.int64), "mask": np.ones((1, 4), np.float32)},
            "input 'mask' takes INT64, got FP32 data",
        ),
        ({"mask": np.ones((1, 4), np.int64)}, "input 'ids' is missing; the model takes ['ids', 'mask']"),
    ],
)
def test_a_request_of_a_wrong_length_is_told_so(
    served: RunningServer, arrays: dict[str, npt.NDArray[np.generic]], complaint: str
) -> None:
    with (
        tritonclient.grpc.InferenceServerClient(served.address) as client,
        pytest.raises(InferenceServerException) as raised,
    ):
        ask(client, "sentences", **arrays)
    assert (raised.value.status(), raised.value.message()) == ("StatusCode.INVALID_ARGUMENT", complaint)


def test_a_text_of_no_length_is_the_models_to_answer_and_harms_nobody(served: RunningServer) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        answer = ask(client, "sentences", ids=np.zeros((2, 0), np.int64))
        assert answer.as_numpy("states").shape == (2, 0, WIDTH)
        assert np.isnan(answer.as_numpy("embedding")).all(), "a mean of nothing"


@pytest.mark.parametrize("name", WRONG)
def test_a_declaration_that_does_not_fit_fails_the_load_and_says_why(served: RunningServer, name: str) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        index = {model.name: model for model in client.get_model_repository_index().models}
        assert index["sentences"].state == "READY"
        reason = index[f"wrong-{name}"].reason if f"wrong-{name}" in index else ""
        with pytest.raises(InferenceServerException) as raised:
            client.load_model(f"wrong-{name}")
    assert WRONG[name][1] in (raised.value.message() + reason)


def test_a_request_of_more_rows_than_a_batch_is_computed_in_parts_and_put_together(served: RunningServer) -> None:
    ids = np.random.default_rng(3).integers(0, text_models.VOCABULARY, (150, 11))
    with tritonclient.grpc.InferenceServerClient(served.address) as client:
        answer = ask(client, "sentences", ids=ids)
    found = text_models.table()[ids]
    np.testing.assert_allclose(answer.as_numpy("embedding"), found.mean(1), atol=1e-5)
    np.testing.assert_array_equal(answer.as_numpy("states"), found)
