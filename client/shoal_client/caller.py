"""Whom a call goes to, until when, how often, and what comes of it: carries out what the policies decide."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from shoal_client.call import Call, Headers, Reply, failed_of, leaves_hope, trailer_of
from shoal_client.certificates import Certificates
from shoal_client.channel import Connection, check_target
from shoal_client.errors import (
    CallError,
    ClientClosed,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    class_of,
)
from shoal_client.health import Rotation, TargetHealth
from shoal_client.hedging import HedgeBudget, Latencies
from shoal_client.options import ClientOptions, Metadata, check_metadata
from shoal_client.race import race
from shoal_client.retry import (
    PUSHBACK,
    RetryBudget,
    RetryOptions,
    may_mend,
    read_pushback,
    retry_delay_s,
)
from shoal_client.tls import hint_of, read_material
from shoal_client.trace import trace_headers

_MOST_TARGETS: Final = 256
_MOST_MODELS: Final = 64  # whose latencies are known
_TOO_LATE: Final = "Deadline Exceeded"  # what gRPC says by itself
_TOO_LARGE: Final = "message larger than max"
_NO_RETRY: Final = RetryOptions(max_attempts=1)


class Caller:
    """Owns the connections of a client. Everything happens on the event loop that ``open`` runs on.

    Use ``unary`` for calls of one request and one answer. A stream takes its parts: ``pick`` who is asked, ``headers``,
    ``failure`` for what a stream raised, ``again`` to wait before it is opened once more, ``answered`` when it works.
    """

    def __init__(self, targets: str | Sequence[str], options: ClientOptions) -> None:
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        if not 0 < len(names) <= _MOST_TARGETS:
            raise ConfigurationError(f"a client has from 1 to {_MOST_TARGETS} targets, got {len(names)}")
        self._names = tuple([check_target(name) for name in names])
        self._options = options
        self._retry = options.retry or _NO_RETRY
        self._budget = RetryBudget(self._retry)
        self._rotation = Rotation(self._names)
        self._connections: list[Connection] = []
        self._certificates: Certificates | None = None
        self._watch: asyncio.Task[None] | None = None
        self._hedge_budget = HedgeBudget(options.hedging) if options.hedging else None
        self._latencies: OrderedDict[str, Latencies] = OrderedDict()
        self._random = random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the channels; they connect with their first call.

        Raises:
            ConfigurationError: the certificates cannot be used.
        """
        tls = self._options.tls
        material = await asyncio.to_thread(read_material, tls) if tls is not None else None
        self._loop = asyncio.get_running_loop()
        several = len(self._names) > 1
        self._connections = [Connection(name, self._options, material, several=several) for name in self._names]
        if tls is not None and material is not None:
            self._certificates = Certificates(tls, material, self._connections, self._options.timeout_s)
            if tls.may_change:
                self._watch = self._loop.create_task(self._certificates.watch(), name="shoal-client-certificates")

    async def close(self) -> None:
        """End every call that is under way and close the channels."""
        connections, self._connections = self._connections, []
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for connection in connections:
            await connection.close()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return bool(self._connections)

    async def renew_tls(self) -> bool:
        """See ``AsyncClient.renew_tls``."""
        self.check_open()
        return await self._certificates.renew() if self._certificates is not None else False

    def name(self, index: int) -> str:
        """Return a target by its position."""
        return self._names[index]

    def health(self) -> tuple[TargetHealth, ...]:
        """Return what is known of each target."""
        return self._rotation.health(self.now_s())

    def now_s(self) -> float:
        """Return the time of the loop, in seconds."""
        return self._loop.time() if self._loop is not None else 0.0

    def check_open(self) -> None:
        """Refuse to work where the client cannot.

        Raises:
            ClientClosed: it is not open, or another event loop asks than the one that it was opened on.
        """
        if not self._connections:
            raise ClientClosed("the client is not open: use it inside `async with` (`with` for Client)")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosed("the client was opened on another event loop; make one for each loop")

    async def unary(self, call: Call) -> Reply:
        """Send a call until it is answered, refused, or its time is over.

        Raises:
            CallError: by what it ended with.
            ClientClosed: the client is not open, or was closed meanwhile.
        """
        self.check_open()
        deadline_s = self.now_s() + call.timeout_s
        headers = self.headers(call.metadata)
        attempts, hedged = 0, False
        avoid: int | None = None
        while True:
            index, _connection = self.pick(avoid, call.only)
            sent = [index]
            try:
                message, index = await self._send(call, headers, deadline_s, sent, attempts)
            except CallError as error:
                attempts += len(sent)
                avoid = index
                if not await self.again(error, call, attempts, deadline_s):
                    error.attempts = attempts
                    raise
                continue
            self._budget.succeeded()
            hedged = hedged or len(sent) > 1
            return Reply(message, self._names[index], attempts + len(sent), hedged)

    async def _send(
        self, call: Call, headers: Headers, deadline_s: float, sent: list[int], attempts: int
    ) -> tuple[bytes, int]:
        """Send a call to the target in ``sent``, and where that is slow to another, which is then in ``sent`` too."""
        began_s = self.now_s()
        first = self._attempt(call, headers, deadline_s, sent[0], attempts + 1)
        after_s = self._hedge_after_s(call)
        if after_s is None:
            answer = await first
        else:

            def second() -> Coroutine[Any, Any, tuple[bytes, int]] | None:
                if self._hedge_budget is None or not self._connections or not self._hedge_budget.take():
                    return None
                index, _connection = self.pick(sent[0])
                sent.append(index)
                return self._attempt(call, headers, deadline_s, index, attempts + 2)

            answer = await race(first, second, after_s, leaves_hope)
        if self._hedge_budget is not None and call.hedge:
            self._latencies_of(call.model).observe(self.now_s() - began_s)
        return answer

    # --- The parts of a call ------------------------------------------------------------------------------------------

    def headers(self, metadata: Metadata) -> Headers:
        """Return the metadata of a call: the client's, the trace's, the call's own, the later the stronger."""
        check_metadata(metadata)
        merged = {**self._options.metadata, **trace_headers(self._options.trace_context), **metadata}
        return tuple(merged.items())

    def only(self, target: str) -> int | None:
        """Return the position of a target; None for "", which is any.

        Raises:
            ConfigurationError: it is none of the client's.
        """
        if target and target not in self._names:
            raise ConfigurationError(
                f"{target!r:.80} is none of this client's targets: {', '.join(self._names)!s:.200}"
            )
        return self._names.index(target) if target else None

    def the_one(self, target: str) -> int:
        """Return the position of the target that a change is meant for; it need not be named where there is one only.

        Raises:
            ConfigurationError: it is none of the client's, or it is not named and there are several.
        """
        if not target and len(self._names) > 1:
            raise ConfigurationError(f"say which target is meant: {', '.join(self._names)!s:.200}")
        return self.only(target or self._names[0]) or 0

    def pick(self, avoid: int | None = None, only: int | None = None) -> tuple[int, Connection]:
        """Return who is asked next."""
        self.check_open()
        index = self._rotation.pick(self.now_s(), avoid) if only is None else only
        return index, self._connections[index]

    def answered(self, index: int) -> None:
        """A target has answered on a stream."""
        self._rotation.succeeded(index)
        self._budget.succeeded()

    def left(self, index: int) -> None:
        """A call was given up by its caller."""
        self._rotation.left(index)

    def failure(self, raised: grpc.aio.AioRpcError, call: Call, index: int, attempts: int) -> CallError:
        """Return what a failed attempt means, and note what it says about the target."""
        status = raised.code().name
        if status == "UNAVAILABLE":
            self._rotation.failed(index, self.now_s(), self._random.random())
            if self._certificates is not None:
                self._certificates.suspect()
        elif status == "DEADLINE_EXCEEDED":
            if self._connections and not self._connections[index].established:
                self._rotation.failed(index, self.now_s(), self._random.random())  # it never got as far as the server
            else:
                self._rotation.left(index)
        else:
            self._rotation.succeeded(index)
        pushback = read_pushback(trailer_of(raised, PUSHBACK))
        details = raised.details() or "the server gave no reason"
        if status == "UNAVAILABLE":
            details += hint_of(details, has_tls=self._options.tls is not None)
        kind = class_of(status)
        if details == _TOO_LATE:
            details = f"no answer within {call.timeout_s:.3g} s"
        elif _TOO_LARGE in details and kind is Overloaded:
            kind = InvalidRequest  # nobody is to come again with it
            if details.startswith("CLIENT"):
                details += "; the client's max_message_bytes allows more"
        return kind(
            details,
            status=status,
            model=call.model,
            target=self._names[index],
            attempts=attempts,
            retry_after_s=pushback.delay_s if pushback else None,
            never_retry=pushback is not None and pushback.delay_s is None,
            cause=raised,
        )

    async def again(self, error: CallError, call: Call, attempts: int, deadline_s: float) -> bool:
        """Wait as the policy says and return True to send the call again; False: give up."""
        failed = failed_of(error, elsewhere=self._is_elsewhere(error, call))
        if may_mend(failed) and not failed.elsewhere:
            self._budget.failed()
        delay_s = retry_delay_s(
            self._retry,
            self._budget,
            failed,
            attempts=attempts,
            idempotent=call.idempotent,
            remaining_s=deadline_s - self.now_s(),
            jitter=self._random.random(),
        )
        if delay_s is None:
            return False
        await asyncio.sleep(delay_s)
        return True

    def _is_elsewhere(self, error: CallError, call: Call) -> bool:
        """Whether nobody was reached, and there is another target that takes calls."""
        if error.status != "UNAVAILABLE" or call.only is not None or not self._connections:
            return False
        index = self._names.index(error.target)
        return not self._connections[index].established and self._rotation.has_other(index, self.now_s())

    def _hedge_after_s(self, call: Call) -> float | None:
        """Return when a second copy of a call may be sent, in seconds from its begin; None: never."""
        if self._hedge_budget is None or not call.hedge:
            return None
        self._hedge_budget.called()
        return self._latencies_of(call.model).hedge_after_s()

    def _latencies_of(self, model: str) -> Latencies:
        assert self._options.hedging is not None
        known = self._latencies.get(model)
        if known is None:
            known = self._latencies[model] = Latencies(self._options.hedging)
            if len(self._latencies) > _MOST_MODELS:
                self._latencies.popitem(last=False)
        self._latencies.move_to_end(model)
        return known

    async def _attempt(
        self, call: Call, headers: Headers, deadline_s: float, index: int, attempts: int
    ) -> tuple[bytes, int]:
        """Send a call once; return the answer and who gave it.

        Raises:
            CallError: by what it ended with.
            ClientClosed: the client was closed meanwhile.
        """
        self.check_open()
        remaining_s = deadline_s - self.now_s()
        if remaining_s <= 0:
            raise DeadlineExceeded(
                f"no answer within {call.timeout_s:.3g} s",
                model=call.model,
                target=self._names[index],
                attempts=attempts,
            )
        try:
            channel = self._connections[index].channel(direct=call.only is not None)
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path)
            answer = await method(call.message, timeout=remaining_s, metadata=headers)
        except grpc.aio.AioRpcError as raised:
            raise self.failure(raised, call, index, attempts) from None
        except asyncio.CancelledError:
            self._rotation.left(index)
            self.raise_if_closed()
            raise
        self._rotation.succeeded(index)
        return answer, index

    def raise_if_closed(self) -> None:
        """Tell a call that ended with its channel from one that its caller cancelled.

        Raises:
            ClientClosed: the client was closed, and nobody cancelled the running task.
        """
        task = asyncio.current_task()
        if not self._connections and (task is None or not task.cancelling()):
            raise ClientClosed("the client was closed while the call was under way") from None
