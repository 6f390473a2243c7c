"""The demo models: scikit-learn classifiers, trained on data sets that come with it, exported to ONNX.

`python -m shoal_server.demo.models FOLDER` writes them as a model repository. Training is seeded and so is the split:
whoever calls ``breast_cancer()`` or ``digits()`` gets the same model and the same test rows again. Only they import
scikit-learn, which takes seconds: nobody waits for it to be told that an argument is wrong.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import typer

_SEED: Final = 7
_TEST_SHARE: Final = 0.25
_OPSET: Final = {"": 21, "ai.onnx.ml": 3}  # what every ONNX Runtime since 1.20 runs

Rows = npt.NDArray[np.float32]
Classes = npt.NDArray[Any]
"""One class per row: strings or numbers."""


class Classifier(Protocol):
    """A trained scikit-learn classifier."""

    def predict(self, rows: Rows) -> Classes:
        """Return the most probable class of each row."""
        ...

    def predict_proba(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Return the probability of each class for each row, [rows, classes]."""
        ...


class _Untrained(Classifier, Protocol):
    def fit(self, rows: Rows, truth: Classes) -> object: ...


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A trained model, its ONNX form, and the rows that it was not trained on with their true classes.

    The ONNX form takes ``input_name``, FP32 [rows, columns], and gives a label and the scores of the classes.
    """

    name: str
    classifier: Classifier
    onnx: bytes
    input_name: str
    rows: Rows
    truth: Classes

    @property
    def accuracy(self) -> float:
        """The share of the test rows that it classifies rightly."""
        return float(np.mean(self.classifier.predict(self.rows) == self.truth))


def breast_cancer() -> DemoModel:
    """Tell malignant from benign by 30 measurements (569 rows): a scaler and a logistic regression.

    Exported as skl2onnx does by itself: classes are strings, and probabilities come from a ZipMap as dictionaries.
    """
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - as above

    data = load_breast_cancer()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(random_state=_SEED))
    return _trained("breast_cancer", pipeline, data.data, data.target_names[data.target], options=None)


def digits() -> DemoModel:
    """Read a digit from 8x8 pixels (1,797 rows): a network of 64-256-256-10. Exported without ZipMap."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415 - as above

    data = load_digits()
    network = MLPClassifier((256, 256), max_iter=60, tol=1e-3, random_state=_SEED)
    return _trained("digits", network, data.data, data.target, options={"zipmap": False})


DEMO_MODELS: Final[Mapping[str, Callable[[], DemoModel]]] = {"breast_cancer": breast_cancer, "digits": digits}
"""Each demo model's name and what trains it."""


def write(model: DemoModel, folder: Path) -> Path:
    """Write a model as version 1 into a repository; whoever scans that meanwhile sees the whole file or none."""
    file = model_file(folder, model.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(model.onnx)
    partial.replace(file)
    return file


def model_file(folder: Path, name: str) -> Path:
    """Return where version 1 of a model stands in a repository."""
    return folder / name / "1" / "model.onnx"


def _trained(
    name: str,
    classifier: _Untrained,
    rows: npt.NDArray[np.float64],
    truth: Classes,
    options: Mapping[str, object] | None,
) -> DemoModel:
    from skl2onnx import to_onnx  # noqa: PLC0415 - slow to import
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - as above
    from threadpoolctl import (  # type: ignore[import-untyped] # noqa: PLC0415 - comes with scikit-learn; has no types
        threadpool_limits,
    )

    # float32 from the start: so the model in Python sees the very numbers that travel to the server.
    known, test, known_truth, test_truth = train_test_split(
        rows.astype(np.float32), truth, test_size=_TEST_SHARE, random_state=_SEED, stratify=truth
    )
    # On one thread the weights do not depend on how many cores there are, and a busy machine takes a tenth of the time.
    with threadpool_limits(1):
        classifier.fit(known, known_truth)
    exported = to_onnx(
        classifier,
        known[:1],
        name=name,
        options=None if options is None else {id(classifier): options},
        target_opset=_OPSET,
    )
    return DemoModel(name, classifier, exported.SerializeToString(), exported.graph.input[0].name, test, test_truth)


def main(arguments: Sequence[str]) -> None:
    """Train and write the models that the folder lacks."""
    parser = argparse.ArgumentParser(prog="python -m shoal_server.demo.models", description="Write the demo models.")
    parser.add_argument("folder", type=Path, help="the model repository; made if it does not exist")
    folder: Path = parser.parse_args(arguments).folder
    for name, train in DEMO_MODELS.items():
        file = model_file(folder, name)
        if file.exists():
            typer.echo(f"{name}: {file} is there already")
            continue
        model = train()
        size_kb = write(model, folder).stat().st_size / 1000
        typer.echo(
            f"{name}: wrote {file} ({size_kb:.0f} kB), right on {model.accuracy:.1%} of {len(model.rows)} test rows"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
