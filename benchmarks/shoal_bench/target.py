"""The server under test, as its protocol shows it: is it there, what does its model take, how does it batch.

Only the Open Inference Protocol is assumed. What a server does not offer beyond it is left out of the record.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

import grpc
from google.protobuf.message import Message

from shoal.admin import admin_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.caller import CHANNEL_OPTIONS
from shoal_bench.order import Payload
from shoal_bench.secure import Tls, channel

SERVICE: Final = "/inference.GRPCInferenceService"
INFER: Final = f"{SERVICE}/ModelInfer"
_ADMIN: Final = "/shoal.admin.v1.AdminService"
_POLL_S: Final = 0.2
_SWAP_LIMIT_S: Final = 60.0
_SHOWN: Final = 8

M = TypeVar("M", bound=Message)


class Batches(NamedTuple):
    """The batches of so many rows of one version."""

    model: str
    version: str
    rows: int


class TargetError(Exception):
    """The target is not there, is no inference server, or does not take what would be sent; says which."""


class Target:
    """A connection for questions, beside those of the load. Blocking; open between ``with`` and its end."""

    def __init__(self, address: str, timeout_s: float = 5.0, tls: Tls | None = None) -> None:
        self.address = address
        self.tls = tls
        self._timeout_s = timeout_s
        self._channel = channel(address, tls, CHANNEL_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def check(self) -> None:
        """See that a server is there, speaks the protocol and is ready.

        Raises:
            TargetError: it is not so.
        """
        try:
            answer = self._ask("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        except grpc.RpcError as error:
            raise TargetError(self._why_unreachable(error)) from error
        if not answer.ready:
            raise TargetError(f"the server at {self.address} says that it is not ready")

    def wait_until_ready(self, limit_s: float, *, alive: "Sequence[object]" = ()) -> None:
        """Ask again and again until it is ready.

        Raises:
            TargetError: it was not in time.
        """
        until_s = time.monotonic() + limit_s
        while True:
            try:
                self.check()
            except TargetError:
                if time.monotonic() > until_s or not all(getattr(process, "alive", True) for process in alive):
                    raise
                threading.Event().wait(_POLL_S)
            else:
                return

    def metadata(self, model: str) -> pb.ModelMetadataResponse:
        """Return what a model takes and gives.

        Raises:
            TargetError: there is no such model, or the server fails.
        """
        try:
            return self._ask("ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse)
        except grpc.RpcError as error:
            status, details = error.code().name, error.details() or "no details"
            known = self._models() if error.code() is grpc.StatusCode.NOT_FOUND else ""
            raise TargetError(
                f"the server at {self.address} does not know model '{model}' ({status}: {details:.200}){known}"
                if error.code() is grpc.StatusCode.NOT_FOUND
                else f"the server at {self.address} says nothing of model '{model}' ({status}: {details:.200})"
            ) from error

    def try_out(self, payload: Payload, timeout_s: float) -> bytes:
        """Make one call and return its answer.

        Raises:
            TargetError: it was not OK.
        """
        try:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(INFER)
            return method(payload.message, timeout=timeout_s)
        except grpc.RpcError as error:
            raise TargetError(
                f"the server at {self.address} refuses the request for model '{payload.model}' that would be sent: "
                f"{error.code().name}: {error.details() or 'no details':.300}"
            ) from error

    def batches(self, models: Sequence[str]) -> "Counter[Batches] | None":
        """Return how many batches of each size were run so far; None where the server does not tell."""
        sizes: Counter[Batches] = Counter()
        try:
            for model in models:
                request = pb.ModelStatisticsRequest(name=model)
                answer = self._ask("ModelStatistics", request, pb.ModelStatisticsResponse)
                for statistics in answer.model_stats:
                    for batch in statistics.batch_stats:
                        sizes[Batches(model, statistics.version, batch.batch_size)] += batch.compute_infer.count
        except grpc.RpcError:
            return None
        return sizes

    def load(self, model: str) -> None:
        """Have a model loaded again.

        Raises:
            TargetError: the server does not.
        """
        request = pb.RepositoryModelLoadRequest(model_name=model)
        try:
            self._ask("RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, timeout_s=_SWAP_LIMIT_S)
        except grpc.RpcError as error:
            raise TargetError(f"loading '{model}' failed: {error.code().name}: {error.details():.200}") from error

    def has_admin(self) -> bool:
        """Return whether it offers Shoal's admin service to us."""
        try:
            self._list_models("")
        except grpc.RpcError:
            return False
        return True

    def versions(self, model: str) -> tuple[int, list[int]]:
        """Return the version that answers, and all that the server has of a model, by the admin service.

        Raises:
            TargetError: it does not tell.
        """
        try:
            answer = self._list_models(model)
        except grpc.RpcError as error:
            raise TargetError(f"listing '{model}' failed: {error.code().name}: {error.details():.200}") from error
        if not answer.models:
            raise TargetError(f"the admin service does not know '{model}'")
        return answer.models[0].current_version, [version.version for version in answer.models[0].versions]

    def swap(self, model: str, version: int) -> None:
        """Swap a model to a version by the admin service, and wait until the old one is gone.

        Raises:
            TargetError: the server does not.
        """
        method: grpc.UnaryStreamMultiCallable[admin_pb2.SwapVersionRequest, admin_pb2.OperationUpdate]
        method = self._channel.unary_stream(
            f"{_ADMIN}/SwapVersion",
            request_serializer=admin_pb2.SwapVersionRequest.SerializeToString,
            response_deserializer=admin_pb2.OperationUpdate.FromString,
        )
        request = admin_pb2.SwapVersionRequest(model=model, version=version, keep_warm_s=0)
        try:
            for _ in method(request, timeout=_SWAP_LIMIT_S):
                pass
        except grpc.RpcError as error:
            raise TargetError(f"swapping '{model}' failed: {error.code().name}: {error.details():.200}") from error

    def _list_models(self, model: str) -> admin_pb2.ListModelsResponse:
        method: grpc.UnaryUnaryMultiCallable[admin_pb2.ListModelsRequest, admin_pb2.ListModelsResponse]
        method = self._channel.unary_unary(
            f"{_ADMIN}/ListModels",
            request_serializer=admin_pb2.ListModelsRequest.SerializeToString,
            response_deserializer=admin_pb2.ListModelsResponse.FromString,
        )
        return method(admin_pb2.ListModelsRequest(model=model), timeout=self._timeout_s)

    def _ask(self, method: str, request: Message, answer: type[M], timeout_s: float | None = None) -> M:
        stub = self._channel.unary_unary(
            f"{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        response: M = stub(request, timeout=timeout_s or self._timeout_s)
        return response

    def _models(self) -> str:
        try:
            index = self._ask("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
        except grpc.RpcError:
            return ""
        names = sorted({model.name for model in index.models})
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"; it has {', '.join(names[:_SHOWN]) or 'none'}{more}"

    def _why_unreachable(self, error: grpc.RpcError) -> str:
        status, details = error.code(), error.details() or "no details"
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return f"a gRPC server is at {self.address}, but not one of the Open Inference Protocol: {details:.200}"
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"what listens at {self.address} gave no answer within {self._timeout_s:g} s: is the port right?"
        if status is grpc.StatusCode.UNAVAILABLE and any(word in details for word in ("refused", "DNS", "resolv")):
            return f"no server is at {self.address}: {details:.300}"
        hint = (
            "where it asks for certificates, --certificate and --key are wanted, and its CA by --ca"
            if self.tls
            else "where it speaks TLS, --ca FILE says whom to trust"
        )
        return (
            f"what is at {self.address} does not answer as a gRPC server does ({status.name}: {details:.300}); {hint}"
        )
