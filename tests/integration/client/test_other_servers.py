"""Servers that are not ours: typed answers, few extensions, signatures that change, answers that are none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import (
    AsyncClient,
    ClientClosed,
    Coalescing,
    DeadlineExceeded,
    InvalidInput,
    InvalidRequest,
    ProtocolError,
    Unsupported,
)
from shoal_testing.fake_server import ROW, Context, FakeServer, echo, echoing, fail, never, one_input, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


async def bare_server(_request: pb.ServerMetadataRequest, _context: Context) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name="mlserver", version="1.7", extensions=[])


async def typed(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
    """Answer as MLServer and KServe may: with typed contents, and no id."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version="v1.2")
    values = np.frombuffer(request.raw_input_contents[0], "<f4")
    response.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
    response.outputs[0].contents.fp32_contents.extend(2 * values)
    response.outputs.add(name="labels", datatype="BYTES", shape=[1])
    response.outputs[1].contents.bytes_contents.append(b"cat")
    response.parameters["content_type"].string_param = "np"
    return response


def test_answers_with_typed_contents_are_the_same(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=typed, ModelMetadata=one_input("FP32", -1, 2), ServerMetadata=bare_server)
        async with serving(fake), AsyncClient(fake.address) as client:
            for inputs in (ROW, {"x": [[1, 1]]}, {"x": [1, 1]}):
                result = await client.infer("m", inputs, request_id="mine")
                assert result["y"].tolist() == [[2, 2]]
                assert result.text("labels").tolist() == ["cat"]
                assert (result.model_version, result.id) == ("v1.2", "mine")
                assert result.parameters == {"content_type": "np"}
            assert fake.calls["ModelMetadata"] == 2, "once more for a version that the metadata does not name"

    run(main())


def test_what_a_server_lacks_is_said_plainly(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=typed, ServerMetadata=bare_server)
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(Unsupported, match="mlserver does not offer 'schedule_policy', which a priority needs"):
                await client.infer("m", ROW, priority=1)
            with pytest.raises(Unsupported):
                await client.statistics()
            with pytest.raises(Unsupported, match=r"infer_many\(\) needs only ModelInfer"):
                async for _ in client.stream("m", [ROW]):
                    pass
            with pytest.raises(Unsupported):
                await client.infer("m", {"x": [1, 2]})  # the metadata cannot be had
            with pytest.raises(Unsupported):
                await client.admin.list()

    run(main())


def test_rows_travel_together_on_servers_without_a_configuration_too(run: Run) -> None:
    rows: list[int] = []

    async def infer(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
        rows.append(request.inputs[0].shape[0])
        return echo(request)

    async def main() -> None:
        fake = FakeServer(ModelInfer=infer, ModelMetadata=one_input("FP32", -1, 2), ServerMetadata=bare_server)
        async with serving(fake), AsyncClient(fake.address, coalescing=Coalescing(max_rows=4)) as client:
            await asyncio.gather(*[client.infer("m", ROW) for _ in range(8)])
        no_metadata = FakeServer(ModelInfer=infer)
        async with serving(no_metadata), AsyncClient(no_metadata.address, coalescing=Coalescing()) as client:
            await asyncio.gather(*[client.infer("m", ROW) for _ in range(3)])

    run(main())
    assert rows == [4, 4, 1, 1, 1]


def test_metadata_is_asked_for_once_by_many_at_once(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing, ModelMetadata=one_input("FP32", -1, 2))
        async with serving(fake), AsyncClient(fake.address) as client:
            await asyncio.gather(*[client.infer("m", {"x": [1, 2]}) for _ in range(20)])
            assert fake.calls["ModelMetadata"] == 1
            await client.infer("m", {"x": [1, 2]}, version=3)
            assert fake.calls["ModelMetadata"] == 2, "another version is another signature"

    run(main())


def test_an_answer_by_another_version_makes_the_client_ask_again(run: Run) -> None:
    async def infer(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
        return echo(request, "1" if fake.calls["ModelInfer"] < 3 else "2")

    fake = FakeServer(ModelInfer=infer, ModelMetadata=one_input("FP32", -1, 2))

    async def main() -> None:
        async with serving(fake), AsyncClient(fake.address) as client:
            asked = []
            for _ in range(5):
                await client.infer("m", {"x": [1, 2]})
                asked.append(fake.calls["ModelMetadata"])
            assert asked == [1, 1, 1, 2, 2]

    run(main())


def test_an_input_that_only_a_newer_version_has_is_found(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing, ModelMetadata=one_input("FP32", -1, 2))
        async with serving(fake), AsyncClient(fake.address) as client:
            await client.infer("m", {"x": [1, 2]})
            fake.methods["/inference.GRPCInferenceService/ModelMetadata"] = one_input("INT64", -1, 3)
            with pytest.raises(InvalidInput, match="no input 'z'"):
                await client.infer("m", {"z": [1]})
            assert (await client.infer("m", {"x": [1, 2, 3]}))["x"].dtype == np.int64

    run(main())


async def junk(_request: object, _context: Context) -> bytes:
    return b"\xff"


async def junk_stream(_request: object, _context: Context) -> AsyncIterator[bytes]:
    yield b"\xff"


def test_answers_that_are_no_messages_are_protocol_errors(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=junk, ModelMetadata=junk)
        for path in ("/shoal.admin.v1.AdminService/Rollback", "/shoal.admin.v1.AdminService/WatchModels"):
            fake.methods[path] = junk_stream

        async def junk_answers(requests: AsyncIterator[Any], _context: Context) -> AsyncIterator[bytes]:
            async for _request in requests:
                yield b"\xff"

        fake.methods["/inference.GRPCInferenceService/ModelStreamInfer"] = junk_answers
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(ProtocolError, match="no ModelInferResponse"):
                await client.infer("m", ROW)
            with pytest.raises(ProtocolError, match="no ModelMetadataResponse"):
                await client.infer("m", {"x": [1]})
            with pytest.raises(ProtocolError, match="no ModelStreamInferResponse"):
                await anext(aiter(client.stream("m", [ROW])))
            with pytest.raises(ProtocolError, match="no OperationUpdate"):
                await client.admin.rollback("m")
            with pytest.raises(ProtocolError, match="no ModelEvent"):
                await anext(client.admin.watch())

    run(main())


def test_metadata_that_does_not_come_in_time_is_told_as_such(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing, ModelMetadata=never)
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(DeadlineExceeded, match="metadata did not come in time"):
                await client.infer("m", {"x": [1, 2]}, timeout_s=0.2)
            waiting = asyncio.ensure_future(client.infer("m", {"x": [1, 2]}))
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(ClientClosed):
                await waiting

    run(main())


def test_a_refused_request_is_told_as_it_was_refused_first(run: Run) -> None:
    async def infer(_request: pb.ModelInferRequest, context: Context) -> None:
        del fake.methods["/inference.GRPCInferenceService/ModelMetadata"]
        await fail(context, grpc.StatusCode.INVALID_ARGUMENT, "not like this")

    fake = FakeServer(ModelInfer=infer, ModelMetadata=one_input("FP32", -1, 2))

    async def main() -> None:
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(InvalidRequest, match="not like this"):
                await client.infer("m", {"x": [1, 2]})
            assert fake.calls["ModelInfer"] == 1

    run(main())
