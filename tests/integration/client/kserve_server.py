"""KServe's own gRPC service with one model, in a process of its own; prints its port, ends when its input does."""

import asyncio
import sys
from typing import Any

import grpc.aio
from kserve import InferOutput, InferResponse, Model
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

TENSOR = {"datatype": "FP32", "shape": [-1, 2]}


class Doubler(Model):  # type: ignore[misc]  # kserve has no types
    """``x`` FP32 [N, 2] -> y FP32 [N, 2] = 2x; answered with typed contents for one row, raw for more."""

    def __init__(self) -> None:
        super().__init__("doubler")
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", **TENSOR}]

    async def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "y", **TENSOR}]

    async def predict(self, payload: Any, *_more: object, **_by_name: object) -> Any:  # noqa: ANN401 - kserve's
        array = payload.inputs[0].as_numpy()
        output = InferOutput("y", list(array.shape), "FP32")
        output.set_data_from_numpy(2 * array, binary_data=len(array) > 1)
        return InferResponse(payload.id, self.name, [output])


async def main() -> None:
    models = ModelRepository()
    models.update(Doubler())
    server = grpc.aio.server(interceptors=[ExceptionToStatusInterceptor()])
    service = InferenceServicer(DataPlane(models), ModelRepositoryExtension(models))
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"port {port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


asyncio.run(main())
