"""The client for callers without an event loop."""

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Literal, Self, Unpack, overload

from shoal_client.client import STREAM_S, AsyncClient, EachArguments
from shoal_client.errors import CallError, ClientClosed
from shoal_client.in_order import Errors, check_bound
from shoal_client.loop_thread import LoopThread
from shoal_client.options import ClientArguments, Metadata, check_timeout
from shoal_client.progress import Progress, progress_of
from shoal_client.questions import Version
from shoal_client.request import Ask, Inputs
from shoal_client.result import Parameter, Result
from shoal_client.sync_questions import Questions

_NONE: Final[Metadata] = {}


class Client(Questions):
    """Calls models of a server of the Open Inference Protocol, and waits for the answers.

    ::

        with Client("127.0.0.1:8001") as client:
            result = client.infer("digits", {"X": pixels})   # a numpy array, or lists
            result["label"]

    It is ``AsyncClient`` on a thread of its own, with the same arguments, policies and errors. Any number of threads
    may use one client at once, and with ``coalescing`` their rows travel together. On an event loop it would hold up
    everything else: there, use ``AsyncClient``. A process that forks opens its clients afterwards.
    """

    def __init__(self, targets: str | Sequence[str], **options: Unpack[ClientArguments]) -> None:
        """Take the options; connections are made in ``with``.

        Raises:
            ConfigurationError: a target or an option is not what it may be.
        """
        self._client = AsyncClient(targets, **options)
        super().__init__(self._client, LoopThread("shoal-client"))
        self._used = False

    def __enter__(self) -> Self:
        if self._used:
            raise ClientClosed("a client is opened once; make one for each `with`")
        self._used = True
        self._loop.start()
        try:
            self._loop.run(self._client.__aenter__())
        except BaseException:
            self._loop.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every call that is under way with ``ClientClosed``, close the connections, end the thread."""
        if not self._loop.runs:
            return
        try:
            self._loop.run(self._client.close())
        finally:
            self._loop.stop()

    def infer(  # noqa: PLR0913 - the protocol's fields, each by its name
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
        """Run a model once; see ``AsyncClient.infer`` for the arguments and errors."""
        return self._loop.run(
            self._client.infer(
                model,
                inputs,
                version=version,
                outputs=outputs,
                timeout_s=timeout_s,
                priority=priority,
                parameters=parameters,
                request_id=request_id,
                metadata=metadata,
            )
        )

    @overload
    def infer_many(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        concurrency: int = ...,
        errors: Literal["raise"] = ...,
        progress: Progress = ...,
        **each: Unpack[EachArguments],
    ) -> Generator[Result, None, None]: ...
    @overload
    def infer_many(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        concurrency: int = ...,
        errors: Literal["return"],
        progress: Progress = ...,
        **each: Unpack[EachArguments],
    ) -> Generator[Result | CallError, None, None]: ...
    def infer_many(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        concurrency: int = 16,
        errors: Errors = "raise",
        progress: Progress = False,
        **each: Unpack[EachArguments],
    ) -> Generator[Result | CallError, None, None]:
        """Run a model on each item, several at once, and yield the results in order; see ``AsyncClient.infer_many``.

        The items are read by the thread that iterates, so they may block.
        """
        check_bound(concurrency, "concurrency")

        def run(inputs: Inputs) -> Coroutine[Any, Any, Result]:
            return self._client.infer(model, inputs, **each)

        with progress_of(progress, items, model) as advance:
            for result in self._in_order(items, run, concurrency, errors):
                advance()
                yield result

    @overload
    def stream(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        max_in_flight: int = ...,
        errors: Literal["raise"] = ...,
        total_timeout_s: float = ...,
        **each: Unpack[EachArguments],
    ) -> Generator[Result, None, None]: ...
    @overload
    def stream(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        max_in_flight: int = ...,
        errors: Literal["return"],
        total_timeout_s: float = ...,
        **each: Unpack[EachArguments],
    ) -> Generator[Result | CallError, None, None]: ...
    def stream(
        self,
        model: str,
        items: Iterable[Inputs],
        *,
        max_in_flight: int = 32,
        errors: Errors = "raise",
        total_timeout_s: float = STREAM_S,
        **each: Unpack[EachArguments],
    ) -> Generator[Result | CallError, None, None]:
        """Run a model on each item over one stream, and yield the results in order; see ``AsyncClient.stream``.

        The items are read by the thread that iterates, so they may block.
        """
        check_bound(max_in_flight, "max_in_flight")
        version, outputs = str(each.get("version", "")), each.get("outputs", ())
        timeout_s = each.get("timeout_s")
        limit_s = self._client.options.timeout_s if timeout_s is None else check_timeout(timeout_s)
        pipeline = self._loop.run(self._client.open_pipeline(model, total_timeout_s, each.get("metadata", _NONE)))

        def run(inputs: Inputs) -> Coroutine[Any, Any, Result]:
            return pipeline.infer(Ask(model, inputs, version, outputs), limit_s)

        try:
            yield from self._in_order(items, run, max_in_flight, errors)
        finally:
            self._loop.run(pipeline.close())

    def _in_order(
        self,
        items: Iterable[Inputs],
        run: Callable[[Inputs], Coroutine[Any, Any, Result]],
        bound: int,
        errors: Errors,
    ) -> Generator[Result | CallError, None, None]:
        """Read items here, run them on the loop, and yield what comes of each in their order."""
        begun: deque[Future[Result]] = deque()
        try:
            for inputs in items:
                begun.append(self._loop.submit(run(inputs)))
                while len(begun) >= bound or (begun and begun[0].done()):
                    yield _outcome(begun.popleft(), errors)
            while begun:
                yield _outcome(begun.popleft(), errors)
        finally:
            for future in begun:
                future.cancel()


def _outcome(future: "Future[Result]", errors: Errors) -> Result | CallError:
    try:
        return future.result()
    except CallError as error:
        if errors == "raise":
            raise
        return error
    except BaseException:
        future.cancel()
        raise
