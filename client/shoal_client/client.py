"""The client for asyncio."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final, Literal, Self, TypedDict, Unpack, overload

from shoal_client.caller import Caller
from shoal_client.errors import CallError, ClientClosed
from shoal_client.in_order import Errors, check_bound, in_order
from shoal_client.inference import Inferences
from shoal_client.knowledge import Knowledge
from shoal_client.options import ClientArguments, ClientOptions, Metadata, check_timeout
from shoal_client.pipeline import Pipeline
from shoal_client.progress import Progress, progress_of
from shoal_client.questions import AsyncQuestions, Version
from shoal_client.request import Ask, Inputs
from shoal_client.result import Parameter, Result

Items = Iterable[Inputs] | AsyncIterable[Inputs]

_NONE: Final[Metadata] = {}
STREAM_S: Final = 3600.0


class EachArguments(TypedDict, total=False):
    """What each of many inferences takes: ``version``, ``outputs``, ``timeout_s`` and ``metadata`` as in ``infer``."""

    version: Version
    outputs: Sequence[str]
    timeout_s: float | None
    metadata: Metadata


class AsyncClient(AsyncQuestions):
    """Calls models of a server of the Open Inference Protocol (Shoal, Triton, MLServer, KServe, ...).

    ::

        async with AsyncClient("127.0.0.1:8001") as client:
            result = await client.infer("digits", {"X": pixels})   # a numpy array, or lists
            result["label"]

    ``targets`` is HOST:PORT, a name that gRPC resolves (``dns:///models.svc:8001``; its servers take turns), or several
    of these, which take turns as well; one that cannot be reached is left out for a while. Each field of
    ``ClientOptions`` may be given by its name. Use it on one event loop, by any number of tasks at once; for threads
    there is ``Client``.
    """

    def __init__(self, targets: str | Sequence[str], **options: Unpack[ClientArguments]) -> None:
        """Take the options; connections are made in ``async with``.

        Raises:
            ConfigurationError: a target or an option is not what it may be.
        """
        chosen = ClientOptions(**options)
        caller = Caller(targets, chosen)
        super().__init__(caller, Knowledge(caller, chosen), chosen)
        self._inferences = Inferences(self._caller, self._knowledge, chosen)

    async def __aenter__(self) -> Self:
        if self._caller.is_open:
            raise ClientClosed("the client is open already; make one for each `async with`")
        await self._caller.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every call that is under way with ``ClientClosed``, and close the connections."""
        await self._caller.close()
        await self._inferences.close()
        await self._knowledge.close()

    async def infer(  # noqa: PLR0913 - the protocol's fields, each by its name
        self,
        model: str,
        inputs: Inputs,
        *,
        version: Version = "",
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
        priority: int = 0,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        metadata: Metadata = _NONE,
    ) -> Result:
        """Run a model once.

        Args:
            model: the model.
            inputs: by name: a numpy array, which is sent as it is, or a number, a string or nested lists of them, for
                which the model's metadata settles type and shape; leading dimensions that are missing are added with
                size 1. ``uint16`` arrays are BF16 bits where the model takes BF16.
            version: which version; "" for the newest one that is ready.
            outputs: which outputs, in this order; none: all of them.
            timeout_s: the time of the call, retries included, in seconds; by default the client's.
            priority: Triton's priority level from 1 (most urgent); 0: the model's default.
            parameters: further parameters of the request.
            request_id: comes back with the result, and stands in the server's logs and traces.
            metadata: sent with this call.

        Raises:
            InvalidInput: a value cannot be sent as the model's type.
            CallError: by what the call ended with; see ``shoal_client.errors``.
            ProtocolError: the answer contradicts itself.
        """
        ask = Ask(model, inputs, str(version), outputs, priority, parameters or {}, request_id)
        return await self._inferences.infer(ask, self._timeout(timeout_s), metadata)

    @overload
    def infer_many(
        self,
        model: str,
        items: Items,
        *,
        concurrency: int = ...,
        errors: Literal["raise"] = ...,
        progress: Progress = ...,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result, None]: ...
    @overload
    def infer_many(
        self,
        model: str,
        items: Items,
        *,
        concurrency: int = ...,
        errors: Literal["return"],
        progress: Progress = ...,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result | CallError, None]: ...
    async def infer_many(
        self,
        model: str,
        items: Items,
        *,
        concurrency: int = 16,
        errors: Errors = "raise",
        progress: Progress = False,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result | CallError, None]:
        """Run a model on each item, several at once, and yield the results in the order of the items.

        Leave it early by ``contextlib.aclosing``, so that what is under way ends at once.

        Args:
            model: the model.
            items: the inputs of each inference; read no further ahead than ``concurrency``. A plain iterable is read on
                the event loop and may not block.
            concurrency: how many are under way, or wait to be taken, at once; from 1 to 4096.
            errors: "raise" ends with the first failure; "return" yields the error in the place of the result.
            progress: True for a bar (needs rich), or a callback of done and total.
            each: see ``EachArguments``.

        Raises:
            InvalidInput: a value cannot be sent as the model's type.
            CallError: an inference failed, with ``errors="raise"``.
        """
        check_bound(concurrency, "concurrency")

        async def run(inputs: Inputs) -> Result:
            return await self.infer(model, inputs, **each)

        with progress_of(progress, items, model) as advance:
            async with aclosing(in_order(items, run, concurrency, errors)) as results:
                async for result in results:
                    advance()
                    yield result

    @overload
    def stream(
        self,
        model: str,
        items: Items,
        *,
        max_in_flight: int = ...,
        errors: Literal["raise"] = ...,
        total_timeout_s: float = ...,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result, None]: ...
    @overload
    def stream(
        self,
        model: str,
        items: Items,
        *,
        max_in_flight: int = ...,
        errors: Literal["return"],
        total_timeout_s: float = ...,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result | CallError, None]: ...
    async def stream(
        self,
        model: str,
        items: Items,
        *,
        max_in_flight: int = 32,
        errors: Errors = "raise",
        total_timeout_s: float = STREAM_S,
        **each: Unpack[EachArguments],
    ) -> AsyncGenerator[Result | CallError, None]:
        """Run a model on each item over one stream (ModelStreamInfer, an extension), in the order of the items.

        As ``infer_many``, but all by one server and as one call, with one metadata; it costs this process as much CPU
        per item. A failing item does not end the stream; servers other than Shoal tell no status of it, so that its
        ``CallError`` says UNKNOWN and the server's words. Where the stream breaks it is opened again, and what was not
        answered is sent again, as the retry policy allows.

        Args:
            model: the model.
            items: the inputs of each inference; as in ``infer_many``.
            max_in_flight: how many are under way, or wait to be taken, at once; from 1 to 4096.
            errors: as in ``infer_many``.
            total_timeout_s: the time of the whole stream, in seconds.
            each: see ``EachArguments``; ``metadata`` is sent once, with the stream.

        Raises:
            InvalidInput: a value cannot be sent as the model's type.
            Unsupported: the server has no streams.
            CallError: an inference failed, with ``errors="raise"``, or the stream did.
        """
        check_bound(max_in_flight, "max_in_flight")
        limit_s = self._timeout(each.get("timeout_s"))
        version, outputs = str(each.get("version", "")), each.get("outputs", ())
        pipeline = await self.open_pipeline(model, total_timeout_s, each.get("metadata", _NONE))

        async def run(inputs: Inputs) -> Result:
            return await pipeline.infer(Ask(model, inputs, version, outputs), limit_s)

        try:
            async with aclosing(in_order(items, run, max_in_flight, errors)) as results:
                async for result in results:
                    yield result
        finally:
            await pipeline.close()

    async def open_pipeline(self, model: str, total_timeout_s: float, metadata: Metadata) -> Pipeline:
        """Return a stream for ``Client``; ``stream`` is what to use."""
        self._caller.check_open()
        check_timeout(total_timeout_s, "total_timeout_s")
        return Pipeline(self._caller, self._inferences, model, total_timeout_s, metadata)
