"""MLServer's side: an ONNX model as its custom runtime. Imported by MLServer, in its own environment."""

import asyncio

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor

_DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


def _tensors(specs: "list[ort.NodeArg]") -> list[MetadataTensor]:
    return [
        MetadataTensor(
            name=spec.name,
            datatype=_DATATYPES[spec.type],
            shape=[size if isinstance(size, int) else -1 for size in spec.shape],
        )
        for spec in specs
    ]


class OnnxModel(MLModel):  # type: ignore[misc]  # MLServer is not installed where this is checked
    """``parameters.uri`` of its settings is the path of the model; one ONNX Runtime session, one thread per call."""

    async def load(self) -> bool:
        """Load the model and tell what it takes."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        make = ort.InferenceSession
        self._session = await asyncio.to_thread(
            make, self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = _tensors(self._session.get_inputs())
        self.outputs = _tensors(self._session.get_outputs())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model on the loop, as MLServer's own runtimes do."""
        feed = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        arrays = self._session.run(None, feed)
        outputs = [
            NumpyCodec.encode_output(spec.name, array)
            for spec, array in zip(self._session.get_outputs(), arrays, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
