"""The envelope of a call, whatever its tensors: metadata, trace, compression and size."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from shoal_client import AsyncClient, InvalidRequest
from shoal_testing.fake_server import ROW, FakeServer, echoing, serving

Run = Callable[[Coroutine[Any, Any, None]], None]


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
            with pytest.raises(InvalidRequest, match=r"larger than max .*; the client's max_message_bytes allows more"):
                await client.infer("m", {"x": np.zeros(1000, np.float32)})
            assert fake.calls["ModelInfer"] == 1

    run(main())
