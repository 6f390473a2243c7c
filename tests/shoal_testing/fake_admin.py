"""An admin service over the wire whose operations go as the test says: held, failed, cut off, or done."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from shoal.admin import admin_pb2 as pb
from shoal.inference import grpc_service_pb2 as inference
from shoal.methods import METHODS

M = TypeVar("M", bound=Message)

WAIT_S: Final = 15.0
_OK: Final = (grpc.StatusCode.OK, "")


class FakeAdmin:
    """One model ``digits``; change its fields before a call. ``requests`` has what was asked, by the method's name.

    A method in ``denied`` is refused; ``offered`` is whether there is an admin service at all.
    An operation sends ``updates`` one after the other, waits for ``held`` after the first of them, and ends with
    ``status``. Watching sends ``events``, and then ends with ``status`` or, while ``watching`` is clear, waits for it.
    """

    def __init__(self) -> None:
        self.model = pb.Model(
            name="digits",
            current_version=2,
            versions=[
                pb.Version(version=1, state=pb.READY, digest="1" * 64, kept_warm_until=1_000_000_000.0),
                pb.Version(version=2, state=pb.READY, digest="2" * 64),
            ],
            labels={"stable": 2, "previous": 1, "canary": 2},
        )
        self.updates = swap_updates()
        self.events = [pb.ModelEvent(model=self.model, caught_up=True)]
        self.status: tuple[grpc.StatusCode, str] = _OK
        self.inside = 0
        self.held = threading.Event()
        self.held.set()
        self.began = threading.Event()
        self.watching = threading.Event()
        self.watching.set()
        self.requests: dict[str, list[Any]] = {}
        self.offered = True
        self.denied: dict[str, grpc.StatusCode] = {}

    def release(self) -> None:
        """Let all who wait go on."""
        self.held.set()
        self.watching.set()

    def answer(self, name: str, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        """Yield the answers to a call of any method."""
        self.requests.setdefault(name, []).append(request)
        if name in self.denied:
            context.abort(self.denied[name], "not for you")
        match name:
            case "ListModels" | "RepositoryIndex" | "ModelStatistics" | "SetLabel" | "Drain":
                yield self._unary(name)
            case "WatchModels":
                yield from self.events
                self._wait(self.watching, context)
            case _:
                for update in self.updates:
                    yield update
                    self.began.set()
                    self._wait(self.held, context)
        if self.status is not _OK:
            context.abort(*self.status)

    def _unary(self, name: str) -> Message:
        index = inference.RepositoryIndexResponse.ModelIndex
        answers: dict[str, Message] = {
            "ListModels": pb.ListModelsResponse(models=[self.model]),
            "RepositoryIndex": inference.RepositoryIndexResponse(
                models=[
                    index(name=self.model.name, version=str(version.version), state=pb.VersionState.Name(version.state))
                    for version in self.model.versions
                ]
            ),
            "ModelStatistics": inference.ModelStatisticsResponse(),
            "SetLabel": pb.SetLabelResponse(previous_version=1, changed=True, recorded=True),
            "Drain": pb.DrainResponse(requests=self.inside),
        }
        return answers[name]

    @staticmethod
    def _wait(event: threading.Event, context: grpc.ServicerContext) -> None:
        """Wait for the event, or until the caller has left."""
        if context.add_callback(event.set):
            assert event.wait(WAIT_S)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, fake: FakeAdmin) -> None:
        self._fake = fake

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        path = str(details.method)
        service, _, name = path.rpartition("/")
        if service.endswith("AdminService") and not self._fake.offered:
            return None
        method = METHODS[path]

        def stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            yield from self._fake.answer(name, request, context)

        def unary(request: Message, context: grpc.ServicerContext) -> Message:
            [answer] = self._fake.answer(name, request, context)
            return answer

        make: Callable[..., grpc.RpcMethodHandler[Any, Any]] = (
            grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(
            stream if method.server_streaming else unary,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )


def step(
    kind: "pb.Step.Kind.ValueType", version: int, began_s: float, seconds: float | None = None
) -> pb.OperationUpdate:
    """Return the news of a step that has begun, or ended where ``seconds`` is given."""
    return pb.OperationUpdate(step=pb.Step(kind=kind, version=version, began_s=began_s, seconds=seconds))


def swap_updates() -> list[pb.OperationUpdate]:
    """Return what a swap from version 1 to 2 tells."""
    news = [
        step(pb.Step.LOAD, 2, 0.001),
        step(pb.Step.LOAD, 2, 0.001, 0.431),
        step(pb.Step.PUBLISH, 2, 0.44),
        step(pb.Step.PUBLISH, 2, 0.44, 0.0004),
    ]
    result = pb.OperationResult(
        model="digits",
        previous_version=1,
        current_version=2,
        changed=True,
        steps=[update.step for update in news if update.step.HasField("seconds")],
        seconds=1.25,
        files=[pb.FileDigest(name="model.onnx", sha256="2" * 64, size_bytes=3 << 20)],
        memory=pb.Memory(before_bytes=95 << 20, peak_bytes=(100 << 20) + (1 << 19), after_bytes=97 << 20),
        kept_warm_until=1_000_000_000.0,
        recorded=True,
        remarks=["the rows\nof version 2 are batched"],
    )
    return [*news, pb.OperationUpdate(result=result)]


@contextmanager
def fake_admin() -> Iterator[tuple[str, FakeAdmin]]:
    """Serve a fake on a free port; yield its address and the fake."""
    fake = FakeAdmin()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_Handler(fake),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", fake
    finally:
        fake.release()
        server.stop(None).wait(WAIT_S)
