"""The demo and its models, as a newcomer runs them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from blockbuster import BlockBuster

import shoal_server.demo.__main__ as demo
from shoal_server.demo import models
from shoal_server.demo.models import DEMO_MODELS, model_file

# It starts processes, and the first test imports scikit-learn: both take long on a machine that is busy with others.
pytestmark = pytest.mark.timeout(55)


@pytest.fixture(autouse=True)
def _a_client_may_block(blockbuster: BlockBuster) -> Iterator[None]:
    """Of what runs in this process only: grpc.aio blocks when its last channel goes (0.2 s)."""
    blockbuster.deactivate()
    yield
    blockbuster.activate()


def test_the_demo_answers_as_scikit_learn_does_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "shoal.toml"
    settings.write_text("colour = 'red'")  # of whatever is served from here otherwise
    code = demo.main(["--rounds", "2"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "all agree with scikit-learn" in out
    for name in DEMO_MODELS:
        assert f"{name}: right on 9" in out
        assert f"\n{name}: " in out, "its batch sizes"
    assert "answers per second" in out
    assert "left with exit code 0" in out
    assert list(tmp_path.iterdir()) == [settings], "it leaves nothing behind"


def test_a_server_that_does_not_come_up_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOAL_COLOUR", "red")
    assert demo.main(["models"]) == 1
    assert "the demo failed: the server ended with exit code 2 before it was ready" in capsys.readouterr().err


def test_answers_other_than_scikit_learns_fail_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = models.digits()
    contrary = SimpleNamespace(
        predict=lambda rows: 9 - digits.classifier.predict(rows), predict_proba=digits.classifier.predict_proba
    )
    monkeypatch.setattr(demo, "DEMO_MODELS", {"digits": lambda: replace(digits, classifier=contrary)})
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--rounds", "1"]) == 1
    assert "450 have another class than scikit-learn's" in capsys.readouterr().err


def test_the_models_are_written_once_and_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    models.main([str(folder)])
    assert capsys.readouterr().out.count(": wrote ") == len(DEMO_MODELS)
    times = {name: model_file(folder, name).stat().st_mtime_ns for name in DEMO_MODELS}
    models.main([str(folder)])
    assert capsys.readouterr().out.count(" is there already") == len(DEMO_MODELS)
    assert times == {name: model_file(folder, name).stat().st_mtime_ns for name in DEMO_MODELS}
    assert sorted(path.name for path in folder.glob("*/1/*")) == ["model.onnx", "model.onnx"]


@pytest.mark.parametrize("name", DEMO_MODELS)
def test_training_again_gives_the_same_model_and_the_same_test_rows(name: str) -> None:
    first, second = DEMO_MODELS[name](), DEMO_MODELS[name]()
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.truth, second.truth)
    assert first.accuracy == second.accuracy
    assert first.accuracy > 0.95
    session = onnxruntime.InferenceSession(second.onnx)
    labels = session.run(None, {second.input_name: first.rows})[0]
    np.testing.assert_array_equal(labels, first.classifier.predict(first.rows))
