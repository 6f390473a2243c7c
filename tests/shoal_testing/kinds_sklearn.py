"""scikit-learn's estimators as skl2onnx exports them: trees, text pipelines, columns of mixed types and the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Final, cast
from warnings import catch_warnings

import numpy as np

from shoal_testing.kind import Array, Inputs, Kind, floats
from shoal_testing.models import OPSET

_FEATURES: Final = 5
_TRAINED_ON: Final = 80
_TEXTS: Final = (
    "a good film, warmly acted",
    "dull and far too long",
    "the plot is good, the film is not",
    "naïve, long, good for children",
    "",
    "ACTED with Zürich-born WARMTH",
)
_CITIES: Final = ("Zürich", "Oslo", "Napoli")

Estimator = Any
"""One of scikit-learn's, which has no types."""


def _fit(estimator: Estimator, kind: str) -> Estimator:
    from threadpoolctl import (  # type: ignore[import-untyped] # noqa: PLC0415 - comes with scikit-learn
        threadpool_limits,
    )

    random = np.random.default_rng(0)
    features = floats(random, _TRAINED_ON, _FEATURES)
    wanted = features @ np.arange(1, _FEATURES + 1) + np.sin(features[:, 0])
    targets: Mapping[str, Array] = {
        "classes": np.digitize(wanted, [-4, 4]),
        "names": np.array(["low", "middle", "hïgh"])[np.digitize(wanted, [-4, 4])],
        "number": wanted,
        "numbers": np.stack([wanted, wanted**2, features[:, 1]], axis=1),
        "labels": (features[:, :3] > 0).astype(int),
        "none": np.zeros(_TRAINED_ON),
    }
    with threadpool_limits(1):  # several threads for so little data wait for each other
        return estimator.fit(features, targets[kind])


def _export(
    estimator: Estimator, inputs: Sequence[tuple[str, Any]] = (), options: Mapping[int, Mapping[str, object]] = {}
) -> bytes:
    from skl2onnx import to_onnx  # noqa: PLC0415 - slow to import, and few tests want it
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - as above
    from sklearn.base import is_classifier  # noqa: PLC0415 - as above

    own = dict(options.get(id(estimator), {}))
    if is_classifier(estimator):
        # ZipMaps are no tensors, so ONNX Runtime alone has no answer to compare with; they have tests of their own.
        own["zipmap"] = False
    # It warns of what it does itself with newer versions of numpy and scikit-learn than it knows.
    with catch_warnings(action="ignore"):
        model = to_onnx(
            estimator,
            initial_types=list(inputs) or [("X", FloatTensorType([None, _FEATURES]))],
            target_opset={"": OPSET, "ai.onnx.ml": 3},
            options={**options, id(estimator): own} if own else options,
        )
    return cast("bytes", model.SerializeToString(deterministic=True))


def _plain(name: str, make: Callable[[], Estimator], target: str, **options: bool) -> Kind:
    """Return a kind with one input X FP32 [N, features]."""

    def model() -> bytes:
        estimator = _fit(make(), target)
        return _export(estimator, options={id(estimator): options} if options else {})

    return Kind(name, model, lambda r, n: {"X": floats(r, n, _FEATURES)}, batched=True)


def _text() -> bytes:
    """``text`` BYTES [N, 1] -> label, probabilities: words weighted by how rare they are."""
    from skl2onnx.common.data_types import StringTensorType  # noqa: PLC0415 - slow to import
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - as above

    # Without accents, as the letters of a word follow the locale in ONNX and Unicode in Python.
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern="[a-zA-Z]+")  # noqa: S106 - a token of text
    pipeline = make_pipeline(words, LogisticRegression())
    pipeline.fit(list(_TEXTS) * 4, [1, 0, 0, 1, 0, 1] * 4)
    # Its default is a locale that not every machine has.
    return _export(pipeline, [("text", StringTensorType([None, 1]))], {id(words): {"locale": "C"}})


def _texts(random: np.random.Generator, rows: int) -> Inputs:
    return {"text": np.array(_TEXTS, object)[random.integers(0, len(_TEXTS), (rows, 1))]}


def _columns() -> bytes:
    """``age`` FP32 [N, 1], visits INT64 [N, 1], city BYTES [N, 1] -> label BYTES [N], probabilities FP32 [N, 2]."""
    from skl2onnx.common.data_types import (  # noqa: PLC0415 - slow to import
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415 - as above
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - as above
    from sklearn.impute import SimpleImputer  # noqa: PLC0415 - as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - as above
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: PLC0415 - as above

    random = np.random.default_rng(0)
    columns = _people(random, _TRAINED_ON)
    table = np.concatenate([column.astype(object) for column in columns.values()], axis=1)
    encoded = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
            ("visits", StandardScaler(), [1]),
            ("city", OneHotEncoder(handle_unknown="ignore"), [2]),
        ]
    )
    pipeline = make_pipeline(encoded, RandomForestClassifier(n_estimators=7, random_state=0))
    pipeline.fit(table, np.where(columns["visits"][:, 0] + (columns["city"][:, 0] == "Oslo") > 5, "stays", "goes"))
    return _export(
        pipeline,
        [
            ("age", FloatTensorType([None, 1])),
            ("visits", Int64TensorType([None, 1])),
            ("city", StringTensorType([None, 1])),
        ],
    )


def _people(random: np.random.Generator, rows: int) -> Inputs:
    age = np.abs(floats(random, rows, 1)) * 40
    age[random.random((rows, 1)) < 0.2] = np.nan  # unknown, for the imputer
    return {
        "age": age.astype(np.float32),
        "visits": random.integers(0, 10, (rows, 1)),
        "city": np.array([*_CITIES, "elsewhere"], object)[random.integers(0, 4 if rows < 50 else 3, (rows, 1))],
    }


def _of(path: str, *arguments: object, **options: object) -> Callable[[], Estimator]:
    """Return what makes an estimator of scikit-learn, which is imported only then: that takes seconds."""

    def make() -> Estimator:
        module, _, name = path.rpartition(".")
        return getattr(import_module(f"sklearn.{module}"), name)(*arguments, **options)

    return make


def _several_regressors() -> Estimator:
    return _of("multioutput.MultiOutputRegressor", _of("linear_model.Ridge")())()


def _scaled_and_reduced() -> Estimator:
    return _of(
        "pipeline.make_pipeline",
        _of("preprocessing.StandardScaler")(),
        _of("preprocessing.PolynomialFeatures", 2)(),
        _of("decomposition.PCA", 4)(),
        _of("linear_model.LogisticRegression")(),
    )()


SKLEARN = (
    _plain("random_forest", _of("ensemble.RandomForestClassifier", 20, random_state=0), "classes"),
    _plain("random_forest_named", _of("ensemble.RandomForestClassifier", 9, random_state=0), "names"),
    _plain("boosted_regressor", _of("ensemble.GradientBoostingRegressor", random_state=0), "number"),
    _plain("histogram_boosting", _of("ensemble.HistGradientBoostingClassifier", max_iter=20), "classes"),
    _plain("isolation_forest", _of("ensemble.IsolationForest", n_estimators=20, random_state=0), "none"),
    _plain("decision_tree_path", _of("tree.DecisionTreeClassifier", max_depth=4), "classes", decision_path=True),
    _plain("k_means", _of("cluster.KMeans", 4, n_init=1, random_state=0), "none"),
    _plain("gaussian_mixture", _of("mixture.GaussianMixture", 3, random_state=0), "none"),
    replace(_plain("nearest_neighbours", _of("neighbors.KNeighborsRegressor", 3), "number"), fragile=True),
    _plain("support_vectors", _of("svm.SVC", random_state=0), "classes"),
    _plain("naive_bayes", _of("naive_bayes.GaussianNB"), "names"),
    _plain("several_targets", _of("linear_model.LinearRegression"), "numbers"),
    _plain("several_regressors", _several_regressors, "numbers"),
    _plain(
        "several_labels",
        _of("neural_network.MLPClassifier", (8,), solver="lbfgs", max_iter=2000, random_state=0),
        "labels",
    ),
    _plain("gaussian_process", _of("gaussian_process.GaussianProcessRegressor"), "number", return_std=True),
    _plain("scaled_and_reduced", _scaled_and_reduced, "classes"),
    _plain("normalizer", _of("preprocessing.Normalizer"), "none"),
    Kind("text_pipeline", _text, _texts, batched=True),
    Kind("mixed_columns", _columns, _people, batched=True),
)
"""scikit-learn is imported when the first of them is built."""
