"""Concurrent inferences of one row each, as one request: carries out what ``window`` decides."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from shoal_client.datatypes import Array
from shoal_client.errors import CallError, ClientClosed, DeadlineExceeded
from shoal_client.options import Metadata
from shoal_client.request import Ask, Tensor
from shoal_client.result import Parameter
from shoal_client.window import Coalescing, Leave, WakeAt, Window

_MOST_LANES: Final = 256
_OF_A_ROW: Final = frozenset(
    {"INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED"}
)
"""What one row may have brought upon all: their content, or (RESOURCE_EXHAUSTED) their number."""


class Answer(NamedTuple):
    """What came back for one request, and how."""

    arrays: dict[str, Array]
    model_name: str
    model_version: str
    parameters: dict[str, Parameter]
    target: str
    attempts: int
    hedged: bool


class Ride(NamedTuple):
    """A row's own part of an answer, how long it waited to leave, in seconds, and how many rows travelled."""

    answer: Answer
    waited_s: float
    rows: int


Send = Callable[[Ask, Sequence[Tensor], float, Metadata], Awaitable[Answer]]
"""Sends a request until a deadline, in monotonic seconds."""


@dataclass(slots=True, eq=False)
class _Member:
    tensors: Sequence[Tensor]
    deadline_s: float
    since_s: float
    left_s: float
    future: "asyncio.Future[Ride]"


class _Lane:
    """The rows that wait for one kind of request."""

    def __init__(self, ask: Ask, metadata: Metadata, window: Window) -> None:
        self.ask = ask
        self.metadata = metadata
        self.window = window
        self.members: list[_Member] = []
        self.timer: asyncio.Handle | None = None


class Coalescer:
    """Gathers rows and sends them; every member gets one answer, and waits no longer than its own deadline."""

    def __init__(self, options: Coalescing, send: Send) -> None:
        self._options = options
        self._send = send
        self._lanes: dict[object, _Lane] = {}
        self._apart: dict[object, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ride(
        self, ask: Ask, tensors: Sequence[Tensor], deadline_s: float, metadata: Metadata, most_rows: int
    ) -> Ride | None:
        """Return a row's answer; None if it has to be sent by itself.

        Raises:
            CallError: the row failed, or its deadline passed.
        """
        if not tensors or any(tensor.array.shape[:1] != (1,) for tensor in tensors):
            return None
        key = _key(ask, tensors, metadata)
        lane = self._lane(key, ask, metadata, min(most_rows, self._options.max_rows))
        if lane is None:
            return None
        loop = asyncio.get_running_loop()
        member = _Member(tensors, deadline_s, loop.time(), loop.time(), loop.create_future())
        lane.members.append(member)
        lane.window.offer(loop.time(), deadline_s)
        self._look_soon(key, lane)
        try:
            async with asyncio.timeout_at(deadline_s):
                return await member.future
        except TimeoutError:
            waited_s = loop.time() - member.since_s
            raise DeadlineExceeded(f"no answer within {waited_s:.3g} s", model=ask.model, attempts=1) from None
        finally:
            if member in lane.members:
                position = lane.members.index(member)
                del lane.members[position]
                lane.window.withdraw(position)

    async def close(self) -> None:
        """Fail whoever still waits."""
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            if lane.timer is not None:
                lane.timer.cancel()
            for member in lane.members:
                _settle(member, ClientClosed("the client was closed while the call was under way"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lane(self, key: object, ask: Ask, metadata: Metadata, most_rows: int) -> _Lane | None:
        if key in self._apart:
            return None
        lane = self._lanes.get(key)
        if lane is None and len(self._lanes) < _MOST_LANES:
            window = Window(most_rows, self._options.max_delay_s)
            lane = self._lanes[key] = _Lane(replace(ask, request_id=""), metadata, window)
        return lane

    def _look_soon(self, key: object, lane: _Lane) -> None:
        """Decide at the end of this turn of the loop, when all that it brings has come."""
        if lane.timer is None or lane.timer.cancelled() or isinstance(lane.timer, asyncio.TimerHandle):
            if lane.timer is not None:
                lane.timer.cancel()
            lane.timer = asyncio.get_running_loop().call_soon(self._look, key, lane)

    def _look(self, key: object, lane: _Lane) -> None:
        lane.timer = None
        loop = asyncio.get_running_loop()
        while isinstance(step := lane.window.next(loop.time()), Leave):
            members, lane.members = lane.members[: step.rows], lane.members[step.rows :]
            lane.window.left(step.rows)
            task = loop.create_task(self._travel(key, lane, members))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if isinstance(step, WakeAt):
            lane.timer = loop.call_at(step.time_s, self._look, key, lane)
        elif lane.window.under_way == 0 and self._lanes.get(key) is lane:
            del self._lanes[key]

    async def _travel(self, key: object, lane: _Lane, members: Sequence[_Member]) -> None:
        loop = asyncio.get_running_loop()
        for member in members:
            member.left_s = loop.time()
        try:
            await self._together(key, lane, members)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            for member in members:
                _settle(member, error)
        finally:
            for member in members:
                _settle(member, ClientClosed("the client was closed while the call was under way"))
            lane.window.answered()
            if self._lanes.get(key) is lane:
                self._look_soon(key, lane)

    async def _together(self, key: object, lane: _Lane, members: Sequence[_Member]) -> None:
        """Answer everybody who is still there: by one request, or if that cannot be, by smaller ones at once."""
        present = [member for member in members if not member.future.done()]
        if present and not await self._as_one(key, lane, present):
            size = 1 if key in self._apart else (len(present) + 1) // 2
            parts = [present[start : start + size] for start in range(0, len(present), size)]
            await asyncio.gather(*[self._together(key, lane, part) for part in parts])

    async def _as_one(self, key: object, lane: _Lane, members: Sequence[_Member]) -> bool:
        """Send members as one request; False if they have to be sent apart."""
        # Whoever must be answered sooner leaves by itself; the others are not to lose their time by it.
        deadline_s = max(member.deadline_s for member in members)
        alone = len(members) == 1
        try:
            answer = await self._send(lane.ask, _joined(members), deadline_s, lane.metadata)
        except CallError as error:
            if not alone and error.status in _OF_A_ROW:
                return False
            for member in members:
                _settle(member, _own(error))
            return True
        parts = [answer] if alone else _split(answer, len(members))
        if parts is None:
            self._keep_apart(key)
            return False
        for member, part in zip(members, parts, strict=True):
            _settle(member, Ride(part, member.left_s - member.since_s, len(members)))
        return True

    def _keep_apart(self, key: object) -> None:
        """The outputs of this kind of request are not rows, whatever the metadata says."""
        if len(self._apart) >= _MOST_LANES:
            self._apart.clear()
        self._apart[key] = None


def _key(ask: Ask, tensors: Sequence[Tensor], metadata: Metadata) -> object:
    return (
        ask.model,
        ask.version,
        tuple(ask.outputs),
        ask.priority,
        tuple([(name, type(value), value) for name, value in ask.parameters.items()]),
        tuple([(tensor.name, tensor.datatype.name, tensor.array.shape) for tensor in tensors]),
        tuple(metadata.items()),
    )


def _joined(members: Sequence[_Member]) -> list[Tensor]:
    if len(members) == 1:
        return list(members[0].tensors)
    return [
        replace(tensor, array=np.concatenate([member.tensors[index].array for member in members]))
        for index, tensor in enumerate(members[0].tensors)
    ]


def _split(answer: Answer, rows: int) -> list[Answer] | None:
    """Return each row's part; None if the outputs are not rows."""
    if any(array.shape[:1] != (rows,) for array in answer.arrays.values()):
        return None
    return [
        answer._replace(arrays={name: array[row : row + 1] for name, array in answer.arrays.items()})
        for row in range(rows)
    ]


def _own(error: CallError) -> CallError:
    """Return a copy for one of several who are told the same: each raises it with a traceback of its own."""
    own = copy(error)
    own.cause = error.cause
    return own


def _settle(member: _Member, outcome: Ride | Exception) -> None:
    if member.future.done():
        return
    if isinstance(outcome, Ride):
        member.future.set_result(outcome)
    else:
        member.future.set_exception(outcome)
