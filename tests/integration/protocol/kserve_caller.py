"""Calls a server by kserve's own client and prints what it got as JSON. Run: kserve_caller.py HOST:PORT.

A program of its own, since kserve and tritonclient cannot be imported in one process.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

ARRAYS = {
    "FP32": np.array([[1.5, float("inf")], [-0.0, 1e-45]], np.float32),
    "INT64": np.array([[0, -1], [-(1 << 63), (1 << 63) - 1]]),
    "BYTES": np.array([[b"", b"a\0b"], ["pässi 魚".encode(), b"x" * 100_000]], object),
}


async def call(client: InferenceGRPCClient, model: str, tensor: InferInput, **about: object) -> Mapping[str, Any]:
    """Return what the client makes of an answer, or of the failure."""
    try:
        answer = await client.infer(InferRequest(model_name=model, infer_inputs=[tensor], **about))
    except grpc.RpcError as error:
        return {"status": error.code().name, "text": error.details()}
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    return {
        "id": answer.id,
        "model": answer.model_name,
        "version": answer.model_version,
        "types": {output.name: output.datatype for output in answer.outputs},
        "shapes": {output.name: output.shape for output in answer.outputs},
        "values": {name: readable(array) for name, array in outputs.items()},
    }


def readable(array: Any) -> list[str]:  # noqa: ANN401 - kserve has no types
    """Return each element as text from which two values that differ cannot look the same."""
    return [
        element.hex() if isinstance(element, (bytes, float)) else str(element) for element in array.ravel().tolist()
    ]


async def main(address: str) -> None:
    found: dict[str, object] = {}
    async with InferenceGRPCClient(address, timeout=20) as client:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["models"] = {name: await client.is_model_ready(name) for name in ("FP32", "nobody")}
        for datatype, array in ARRAYS.items():
            raw = InferInput("x", list(array.shape), datatype)
            raw.set_data_from_numpy(array, binary_data=True)
            typed = InferInput("x", list(array.shape), datatype, data=array.ravel().tolist())
            about = {"request_id": f"id of {datatype}", "model_version": "1", "parameters": {"mine": 1, "yours": "é"}}
            found[f"raw {datatype}"] = await call(client, datatype, raw, **about)
            found[f"typed {datatype}"] = await call(client, datatype, typed)
        found["sent"] = {datatype: readable(array) for datatype, array in ARRAYS.items()}
        tensor = InferInput("x", [1, 2], "FP32", data=[1.0, 2.0])
        found["output"] = await call(client, "FP32", tensor, request_outputs=[RequestedOutput("y")])
        found["unknown model"] = await call(client, "nobody", tensor)
        found["unknown output"] = await call(client, "FP32", tensor, request_outputs=[RequestedOutput("z")])
        found["wrong type"] = await call(client, "INT64", tensor)
        rows = [InferInput("x", [1, 2], "FP32", data=[float(row), 0.0]) for row in range(32)]
        answers = await asyncio.gather(*[call(client, "FP32", row) for row in rows])
        found["at once"] = [answer["values"]["y"][0] for answer in answers]
        found["sent at once"] = [float(row).hex() for row in range(32)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
