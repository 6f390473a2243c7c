"""The KServe SDK's side: `python kserve_onnx.py NAME=MODEL.onnx ... --grpc-port N --http-port N`."""

import argparse
import logging

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

_DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


def _tensors(specs: "list[ort.NodeArg]") -> list[dict[str, object]]:
    return [
        {
            "name": spec.name,
            "datatype": _DATATYPES[spec.type],
            "shape": [size if isinstance(size, int) else -1 for size in spec.shape],
        }
        for spec in specs
    ]


class OnnxModel(Model):  # type: ignore[misc]  # the SDK has no types
    """One ONNX Runtime session, one thread per call."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def get_input_types(self) -> list[dict[str, object]]:
        """Tell what the model takes."""
        return _tensors(self._session.get_inputs())

    def get_output_types(self) -> list[dict[str, object]]:
        """Tell what the model gives."""
        return _tensors(self._session.get_outputs())

    def predict(self, payload: InferRequest, *_: object) -> InferResponse:
        """Run the model."""
        arrays = self._session.run(None, {one.name: one.as_numpy() for one in payload.inputs})
        outputs = []
        for spec, array in zip(self._session.get_outputs(), arrays, strict=True):
            output = InferOutput(spec.name, list(array.shape), _DATATYPES[spec.type])
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id or "", self.name, outputs)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.onnx")
    parser.add_argument("--grpc-port", type=int, default=8081)
    parser.add_argument("--http-port", type=int, default=8080)
    given = parser.parse_args()
    server = ModelServer(http_port=given.http_port, grpc_port=given.grpc_port, enable_latency_logging=False)
    logging.getLogger("kserve").setLevel(logging.WARNING)  # it has been set to INFO, which is a line for each call
    server.start([OnnxModel(*model.split("=", 1)) for model in given.models])


if __name__ == "__main__":
    main()
