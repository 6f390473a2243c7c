"""What a client has learned of its server and models, so that it asks once."""

import asyncio
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.call import Call
from shoal_client.caller import Caller
from shoal_client.errors import CallError, DeadlineExceeded, ProtocolError, Unsupported
from shoal_client.information import INFERENCE, ServerMetadata, model_metadata, server_metadata
from shoal_client.options import ClientOptions, Metadata
from shoal_client.signature import Key, Signature, Signatures, rows_are_free

M = TypeVar("M", bound=Message)

_CONFIGURATION: Final = "model_configuration"
_NOTHING: Final[Metadata] = {}


class Knowledge:
    """Asks the server what it is and what its models take, once each; several who want to know wait for one call."""

    def __init__(self, caller: Caller, options: ClientOptions) -> None:
        self._caller = caller
        self._options = options
        self.signatures = Signatures()
        self._server: ServerMetadata | None = None
        self._asking: dict[Key, asyncio.Task[Signature]] = {}

    async def close(self) -> None:
        """End what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(  # noqa: PLR0913 - the parts of a call
        self,
        method: str,
        request: Message,
        answer: type[M],
        *,
        timeout_s: float | None = None,
        model: str = "",
        metadata: Metadata = _NOTHING,
        idempotent: bool = True,
        only: int | None = None,
    ) -> M:
        """Make a call of one request and one answer; ``method`` is a whole path, or a method of the inference service.

        Raises:
            CallError: by what it ended with.
            ProtocolError: the answer is none.
        """
        path = method if method.startswith("/") else INFERENCE + method
        timeout_s = self._options.timeout_s if timeout_s is None else timeout_s
        reply = await self._caller.unary(
            Call(path, request.SerializeToString(), timeout_s, model, metadata, idempotent=idempotent, only=only)
        )
        try:
            return answer.FromString(reply.message)
        except DecodeError:
            raise ProtocolError(
                f"{reply.target} answered {path} with something that is no {answer.DESCRIPTOR.name}"
            ) from None

    async def server(self, timeout_s: float | None = None, *, renew: bool = False) -> ServerMetadata:
        """Return what the server is; asked once unless ``renew``."""
        if self._server is None or renew:
            answer = await self.ask(
                "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, timeout_s=timeout_s
            )
            self._server = server_metadata(answer)
        return self._server

    async def check_offered(self, extension: str, what: str, model: str, timeout_s: float) -> None:
        """Refuse what the server would ignore.

        Raises:
            Unsupported: the server does not offer the extension that ``what`` needs.
        """
        server = await self.server(timeout_s)
        if not server.offers(extension):
            raise Unsupported(f"{server.name} does not offer '{extension}', which {what} needs", model=model)

    async def signature(self, key: Key, deadline_s: float) -> Signature:
        """Return what a model takes, from memory or from the server.

        Raises:
            CallError: the server does not tell, or not in time.
        """
        known = self.signatures.get(key)
        if known is not None:
            return known
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._learn(key))
            task.add_done_callback(lambda task: self._asked(key, task))
        done, _ = await asyncio.wait([task], timeout=max(0.0, deadline_s - self._caller.now_s()))
        if not done:
            raise DeadlineExceeded("the model's metadata did not come in time", model=key[0])
        if task.cancelled():
            self._caller.raise_if_closed()
        return task.result()

    def _asked(self, key: Key, task: "asyncio.Task[Signature]") -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # those who asked may have left, and nobody else has to hear of it

    async def _learn(self, key: Key) -> Signature:
        model, version = key
        request = pb.ModelMetadataRequest(name=model, version=version)
        metadata = model_metadata(await self.ask("ModelMetadata", request, pb.ModelMetadataResponse, model=model))
        signature = Signature(metadata, await self._most_rows(key) if rows_are_free(metadata) else 0)
        self.signatures.learn(key, signature)
        return signature

    async def _most_rows(self, key: Key) -> int:
        """Return how many rows may travel together: as the model's configuration says, where the server shows it."""
        coalescing = self._options.coalescing
        if coalescing is None:
            return 0
        try:
            if not (await self.server()).offers(_CONFIGURATION):
                return coalescing.max_rows
            request = pb.ModelConfigRequest(name=key[0], version=key[1])
            answer = await self.ask("ModelConfig", request, pb.ModelConfigResponse, model=key[0])
        except CallError:
            return 0  # each row alone is slower and never wrong
        return min(coalescing.max_rows, answer.config.max_batch_size)
