"""Networks that won competitions, with their weights left out by the ONNX project: as they are, and with rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.backend import test

from shoal_testing.bare_ort import BareModel, Fed
from shoal_testing.caller import Caller
from shoal_testing.kind import Array, floats
from shoal_testing.models import save
from shoal_testing.on_the_wire import answered, distance, on_the_wire, request_of
from shoal_testing.patience import wait_up_to
from shoal_testing.server import RunningServer, running_server

_LIMIT_S = 120
_CALLERS = 4
_BARELY_TUNED = {"intra_op_threads": 1, "tuning_budget_s": 0.001}  # each is timed, and how fast it is changes no answer
_IMAGE = (3, 224, 224)

# The others have half a gigabyte of weights.
_FIXED = ("densenet121", "inception_v2", "resnet50", "shufflenet", "squeezenet")
# The rest of them reshape to one row.
_FREE = ("densenet121", "squeezenet")

pytestmark = pytest.mark.timeout(_LIMIT_S)


class Network(NamedTuple):
    bare: BareModel
    image: str


class Served(NamedTuple):
    running: RunningServer
    networks: Mapping[str, Network]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    wait_up_to(_LIMIT_S)
    folder = tmp_path_factory.mktemp("networks")
    light = Path(test.__file__).parent / "data" / "light"
    networks = {}
    for name in _FIXED:
        model = onnx.load(light / f"light_{name}.onnx")
        networks[name] = _save(folder, name, model)
        if name in _FREE:
            networks[f"{name}_with_rows"] = _save(folder, f"{name}_with_rows", _with_rows(model))
    with running_server(folder, ready_s=_LIMIT_S, runtime=_BARELY_TUNED) as running:
        yield Served(running, networks)


def _save(folder: Path, name: str, model: onnx.ModelProto) -> Network:
    return Network(BareModel(save(folder, name, model.SerializeToString())), _image(model).name)


def _image(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    weights = {initializer.name for initializer in model.graph.initializer}
    return next(value for value in model.graph.input if value.name not in weights)


def _with_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    _image(freed).type.tensor_type.shape.dim[0].dim_param = "N"
    for output in freed.graph.output:
        output.type.tensor_type.ClearField("shape")
    return freed


@pytest.mark.parametrize("name", _FIXED)
def test_a_network_answers_as_onnxruntime_alone_does(served: Served, name: str) -> None:
    image = floats(np.random.default_rng(0), 1, *_IMAGE)
    assert _distances(served, name, [image]) == [0.0]


@pytest.mark.parametrize("name", _FREE)
def test_a_network_with_rows_is_batched_and_answers_every_caller_as_if_he_were_alone(served: Served, name: str) -> None:
    random = np.random.default_rng(0)
    engine = served.running.server.manager.catalog.resolve(f"{name}_with_rows", "").serving()
    assert engine.batches, engine.reason
    images = [floats(random, rows + 1, *_IMAGE) for rows in range(_CALLERS)]
    assert max(_distances(served, f"{name}_with_rows", images)) <= 1e-5


def _distances(served: Served, name: str, images: list[Array]) -> list[float]:
    """Send all images at once; return how far each answer is from that of ONNX Runtime alone."""
    network = served.networks[name]
    with Caller(served.running.address) as caller:
        pending = [
            caller.begin(
                request_of(name, {network.image: on_the_wire(image, TensorProto.FLOAT)}).SerializeToString(),
                timeout_s=_LIMIT_S,
            )
            for image in images
        ]
        outcomes = [call.outcome(_LIMIT_S) for call in pending]
    distances = []
    for image, outcome in zip(images, outcomes, strict=True):
        wanted = network.bare.run({network.image: Fed(image, TensorProto.FLOAT)})
        got = answered(outcome.answer)
        distances.append(max(distance(tensor, got[output]) for output, tensor in wanted.items()))
    return distances
