"""Servers that are not ours: typed answers, few extensions, and what a call carries besides its tensors."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import (
    AsyncClient,
    CallError,
    ClientClosed,
    Coalescing,
    DeadlineExceeded,
    InvalidInput,
    InvalidRequest,
    Overloaded,
    ProtocolError,
    Result,
    RetryOptions,
    Unavailable,
    Unsupported,
)
from shoal_testing.fake_server import Context, FakeServer, echo, echoing, fail, never, one_input, serving

Run = Callable[[Coroutine[Any, Any, None]], None]

ROW = {"x": np.ones((1, 2), np.float32)}
SOON = RetryOptions(first_delay_s=0.001, max_delay_s=0.01)


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


# --- What a call carries --------------------------------------------------------------------------------------------


def test_metadata_and_trace_travel_with_the_call(run: Run) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        options: dict[str, Any] = {
            "metadata": {"team": "fraud", "shared": "client"},
            "trace_context": lambda: {"traceparent": parent, "not-of-a-trace": "x"},
        }
        async with serving(fake), AsyncClient(fake.address, **options) as client:
            await client.infer("m", ROW, metadata={"shared": "call", "key-bin": b"\0\1"})
        assert fake.metadata["team"] == "fraud"
        assert fake.metadata["shared"] == "call"
        assert fake.metadata["key-bin"] == b"\0\1"
        assert fake.metadata["traceparent"] == parent
        assert "not-of-a-trace" not in fake.metadata
        assert fake.metadata["user-agent"].startswith("shoal-client")

    run(main())


@pytest.fixture
def opentelemetry() -> Iterator[str]:
    """A process that has imported OpenTelemetry's API and is in a span."""
    api = pytest.importorskip("opentelemetry.trace")
    from opentelemetry import context  # noqa: PLC0415 - only where it is installed

    span = api.NonRecordingSpan(api.SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=api.TraceFlags(1)))
    token = context.attach(api.set_span_in_context(span))
    yield "00-00000000000000000000000000001234-0000000000005678-01"
    context.detach(token)


def test_the_span_of_the_process_is_the_parent_of_the_call(run: Run, opentelemetry: str) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        async with serving(fake), AsyncClient(fake.address) as client:
            await client.infer("m", ROW)
        assert fake.metadata["traceparent"] == opentelemetry

    run(main())


def test_a_process_without_opentelemetry_sends_no_trace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", ModuleType("opentelemetry"))  # importing more of it would fail

    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        async with serving(fake), AsyncClient(fake.address) as client:
            await client.infer("m", ROW)
        assert "traceparent" not in fake.metadata

    run(main())


@asynccontextmanager
async def counting(target: str) -> AsyncIterator[tuple[str, list[int]]]:
    """Pass bytes on to the target, and count those that are sent there."""
    host, _, port = target.rpartition(":")
    sent = [0]

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: list[int]) -> None:
        while data := await reader.read(1 << 16):
            count[0] += len(data)
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The test may end at any point of this: a client opens connections that it never uses.
        with closing(writer):
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
            with closing(there_writer):
                await asyncio.gather(pump(reader, there_writer, sent), pump(there_reader, writer, [0]))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", sent
        await asyncio.sleep(0)  # who has just been accepted comes as far as closing


def test_requests_may_be_compressed(run: Run) -> None:
    async def main() -> None:
        sizes: dict[str, int] = {}
        for compression in ("none", "gzip", "deflate"):
            fake = FakeServer(ModelInfer=echoing)
            async with serving(fake), counting(fake.address) as (address, sent):
                async with AsyncClient(address, compression=compression) as client:
                    zeros = np.zeros((1000, 100), np.float32)
                    assert (await client.infer("m", {"x": zeros}))["x"].shape == (1000, 100)
                sizes[compression] = sent[0]
        assert sizes["none"] > 400_000
        assert max(sizes["gzip"], sizes["deflate"]) < 10_000

    run(main())


def test_messages_above_the_limit_are_refused_before_they_are_sent(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        async with serving(fake), AsyncClient(fake.address, max_message_bytes=1000) as client:
            await client.infer("m", ROW)
            with pytest.raises(Overloaded, match="larger than max"):
                await client.infer("m", {"x": np.zeros(1000, np.float32)})
            assert fake.calls["ModelInfer"] == 1

    run(main())


# --- Streams that break ---------------------------------------------------------------------------------------------


async def echo_stream(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
    async for request in requests:
        yield pb.ModelStreamInferResponse(infer_response=echo(request))


def items(count: int) -> list[dict[str, Any]]:
    return [{"x": np.full((1, 1), number, np.float32)} for number in range(count)]


async def streamed(client: AsyncClient, count: int, **options: Any) -> list[float]:  # noqa: ANN401 - those of stream
    return [float(result["x"][0, 0]) async for result in client.stream("m", items(count), **options)]


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, None])
def test_a_stream_that_breaks_goes_on_with_what_was_not_answered(run: Run, status: grpc.StatusCode | None) -> None:
    received: list[list[str]] = []

    async def breaking(requests: AsyncIterator[pb.ModelInferRequest], context: Context) -> AsyncIterator[Any]:
        mine: list[str] = []
        received.append(mine)
        async for request in requests:
            mine.append(request.id)
            if len(received) < 3 and len(mine) == 4:
                if status is not None:
                    await context.abort(status, "draining")
                return
            yield pb.ModelStreamInferResponse(infer_response=echo(request))

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=breaking)
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            assert await streamed(client, 20, max_in_flight=5) == list(range(20))

    run(main())
    assert len(received) == 3


def test_a_stream_that_is_refused_for_good_fails_what_waits(run: Run) -> None:
    async def refusing(_requests: AsyncIterator[pb.ModelInferRequest], context: Context) -> AsyncIterator[Any]:
        await fail(context, grpc.StatusCode.UNAVAILABLE, "closed", "-1")
        yield None

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=refusing)
        async with serving(fake), AsyncClient(fake.address, retry=SOON) as client:
            with pytest.raises(Unavailable, match=r"closed.*asks not to come again"):
                await streamed(client, 5)
            outcomes = [outcome async for outcome in client.stream("m", items(3), errors="return")]
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3

    run(main())


def test_answers_out_of_order_are_put_in_order(run: Run) -> None:
    async def backwards(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        waiting: list[pb.ModelInferRequest] = []
        async for request in requests:
            waiting.append(request)
            if len(waiting) == 4:
                for late in reversed(waiting):
                    yield pb.ModelStreamInferResponse(infer_response=echo(late))
                waiting.clear()

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=backwards)
        async with serving(fake), AsyncClient(fake.address) as client:
            assert await streamed(client, 16, max_in_flight=4) == list(range(16))

    run(main())


def test_a_failure_without_an_id_belongs_to_the_oldest_request(run: Run) -> None:
    async def nameless(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        number = 0
        async for request in requests:
            number += 1
            if number == 2:
                yield pb.ModelStreamInferResponse(error_message="no such row")
            else:
                yield pb.ModelStreamInferResponse(infer_response=echo(request))

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=nameless)
        async with serving(fake), AsyncClient(fake.address) as client:
            outcomes = [outcome async for outcome in client.stream("m", items(3), errors="return")]
            assert isinstance(outcomes[0], Result)
            assert isinstance(outcomes[1], CallError)
            assert "UNKNOWN: model 'm'" in str(outcomes[1])
            assert "no such row" in str(outcomes[1])
            assert isinstance(outcomes[2], Result)

    run(main())


def test_a_failure_without_an_id_is_not_told_to_the_next_after_its_own_has_left(run: Run) -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def late(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
            async for request in requests:
                if not left.is_set():
                    await left.wait()
                    yield pb.ModelStreamInferResponse(error_message="no such row")
                else:
                    yield pb.ModelStreamInferResponse(infer_response=echo(request))

        fake = FakeServer(ModelStreamInfer=late)
        async with serving(fake), AsyncClient(fake.address) as client:
            outcomes: list[object] = []
            async for outcome in client.stream("m", items(2), max_in_flight=1, errors="return", timeout_s=1):
                outcomes.append(outcome)
                left.set()
            assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded, Result]

    run(main())


def test_a_decoupled_model_is_told_that_it_has_no_place_in_a_stream(run: Run) -> None:
    async def decoupled(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            response = pb.ModelStreamInferResponse(infer_response=echo(request))
            response.infer_response.parameters["triton_final_response"].bool_param = False
            yield response

    async def main() -> None:
        fake = FakeServer(ModelStreamInfer=decoupled)
        async with serving(fake), AsyncClient(fake.address) as client:
            with pytest.raises(ProtocolError, match="several answers to one request"):
                await streamed(client, 1)

    run(main())


def test_leaving_a_stream_early_ends_it_at_the_server(run: Run) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def watched(requests: AsyncIterator[pb.ModelInferRequest], _context: Context) -> AsyncIterator[Any]:
            try:
                async for request in requests:
                    yield pb.ModelStreamInferResponse(infer_response=echo(request))
            finally:
                ended.set()

        fake = FakeServer(ModelStreamInfer=watched)
        async with serving(fake), AsyncClient(fake.address) as client:
            results = client.stream("m", items(100), max_in_flight=2)
            await anext(results)
            await results.aclose()
            await ended.wait()

    run(main())
