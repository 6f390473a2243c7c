"""The comparison with an oracle of lengths, small; and README's example of a declaration, as it is written."""

import asyncio
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc

from shoal_bench.mixed_lengths_oracle import Options, Side, measure, real_lengths, verdict
from shoal_bench.transformer import transformer
from shoal_testing.server import running_server

README = Path(__file__).parents[3] / "README.md"


def test_all_sides_compute_all_texts_and_agree() -> None:
    said: list[str] = []
    (done,) = asyncio.run(measure(Options(texts=30, in_flight=8, rounds=1, layers=1, width=48), said.append))
    assert list(done) == ["oracle", "padded", "equal lengths", "one by one"]
    assert all(side.apart < 1e-5 and side.cpu_ms > 0.0 and side.rate > 0.0 for side in done.values())
    assert done["equal lengths"].padded == done["one by one"].padded == 1.0
    assert 1.0 <= done["padded"].padded < 2.0
    assert len(said) == 2


def test_lengths_are_drawn_as_real_paragraphs_have_them() -> None:
    lengths = real_lengths(np.random.default_rng(0), 20_000)
    assert np.mean(lengths) == pytest.approx(45.7, abs=1.5)
    assert np.median(lengths) == pytest.approx(32, abs=2)
    assert (min(lengths), max(lengths)) == (3, 256)


def test_the_verdict_names_what_is_missed() -> None:
    good = {"oracle": Side(70, 10.0, 1.0, 0.0), "padded": Side(69, 10.2, 1.05, 1e-7)}
    assert "MISSED" not in verdict([good, good])
    poor = {"oracle": Side(70, 10.0, 1.0, 0.0), "padded": Side(60, 11.0, 1.15, 1e-4)}
    assert verdict([poor]).count("MISSED") == 3


def test_the_example_in_readme_serves_a_sentence_transformer_whose_callers_send_no_mask(tmp_path: Path) -> None:
    example = re.search(r"```toml\n# models/sentences/model\.toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    version = tmp_path / "sentences" / "1"
    version.mkdir(parents=True)
    tmp_path.joinpath("sentences", "model.toml").write_text(example[1])
    onnx.save(transformer(layers=1, width=48), version / "model.onnx")
    with running_server(tmp_path) as running, tritonclient.grpc.InferenceServerClient(running.address) as client:
        told = client.get_model_config("sentences").config.parameters["shoal.batching"].string_value
        assert told.endswith("lengths are padded: no trial changed an answer")
        ids = tritonclient.grpc.InferInput("input_ids", [2, 7], "INT64")
        ids.set_data_from_numpy(np.arange(14).reshape(2, 7))
        embedding = client.infer("sentences", [ids]).as_numpy("sentence_embedding")
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)
