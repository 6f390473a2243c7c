"""How an operation goes, and what came of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum

from shoal_server.clock import Clock
from shoal_server.errors import ShoalError
from shoal_server.lifecycle.ports import FileDigest
from shoal_server.lifecycle.requests import Request


class StepKind(Enum):
    """What is done in a step."""

    DESCRIBE = "describe"
    LOAD = "load"
    WARM_UP = "warm up"
    RECORD = "record"
    PUBLISH = "publish"
    DRAIN = "drain"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an operation: ``began_s`` from the operation's begin; ``seconds`` None while it lasts."""

    kind: StepKind
    version: int
    began_s: float
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in bytes around an operation; 0 where it cannot be known."""

    before_bytes: int = 0
    peak_bytes: int = 0
    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did: the versions that answered before and answer now, 0 for none.

    ``kept_until_s`` is monotonic: until when what was replaced is kept; ``kept_until_epoch_s`` is the same for people,
    0 where nothing is kept. ``recorded`` says whether a restarted server
    would serve the same.
    """

    model: str
    before: int
    after: int
    changed: bool
    recorded: bool = True
    steps: tuple[Step, ...] = ()
    seconds: float = 0.0
    files: tuple[FileDigest, ...] = ()
    memory: Memory = Memory()
    kept_until_s: float | None = None
    kept_until_epoch_s: float = 0.0
    remarks: tuple[str, ...] = ()
    label_before: int = 0

    def measured(self, operation: "Operation", memory: Memory) -> "Result":
        """Return the result with what the operation took."""
        kept_until_epoch_s = 0.0 if self.kept_until_s is None else operation.epoch_of(self.kept_until_s)
        return replace(
            self,
            steps=operation.steps,
            seconds=operation.age_s,
            memory=memory,
            kept_until_epoch_s=kept_until_epoch_s,
        )


class Operation:
    """One operation, which any number may follow. Loop only."""

    def __init__(self, request: Request, clock: Clock) -> None:
        self.request = request
        self.began_s = clock.monotonic()
        self.outcome: Result | ShoalError | None = None
        """What came of it; None while it is under way."""
        self._left: ShoalError | None = None
        self._clock = clock
        self._updates: list[Step] = []
        self._changed = asyncio.Event()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that have ended, in the order of their begins."""
        return tuple(sorted((step for step in self._updates if step.seconds is not None), key=lambda it: it.began_s))

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return self._clock.monotonic() - self.began_s

    def _age_at(self, at_s: float | None) -> float:
        return self.age_s if at_s is None else at_s - self.began_s

    def epoch_of(self, at_s: float) -> float:
        """Return seconds since 1970 for monotonic ones."""
        return self._clock.epoch() + at_s - self._clock.monotonic()

    def begin(self, kind: StepKind, version: int, at_s: float | None = None) -> Callable[[float | None], None]:
        """Begin a step; return what ends it. Both happen now, or happened at a time in monotonic seconds."""
        step = Step(kind, version, self._age_at(at_s))
        self._tell(step)
        return lambda ended_s: self._tell(replace(step, seconds=self._age_at(ended_s) - step.began_s))

    @contextmanager
    def step(self, kind: StepKind, version: int) -> Iterator[None]:
        """Make what happens in the context a step."""
        end = self.begin(kind, version)
        try:
            yield
        finally:
            end(None)

    def end(self, outcome: Result | ShoalError) -> None:
        """Say what came of it."""
        self.outcome = outcome
        self._wake()

    def leave(self, error: ShoalError) -> None:
        """Wait no longer: who follows has ``error`` raised, unless there is an outcome. The operation goes on."""
        self._left = error
        self._wake()

    async def follow(self) -> AsyncIterator[Step]:
        """Yield every step where it begins and where it ends, from the first on, until it is over or left."""
        told = 0
        while True:
            while told < len(self._updates):
                yield self._updates[told]
                told += 1
            if self.outcome is not None or self._left is not None:
                return
            await self._changed.wait()

    async def result(self) -> Result:
        """Return the result when there is one.

        Raises:
            ShoalError: the operation failed, or is waited for no longer.
        """
        async for _step in self.follow():
            pass
        if isinstance(self.outcome, Result):
            return self.outcome
        error = self.outcome or self._left
        assert error is not None, "it has been followed to its end"
        raise error

    def _tell(self, step: Step) -> None:
        self._updates.append(step)
        self._wake()

    def _wake(self) -> None:
        # Who follows holds the old event, so nobody misses what comes while he is busy.
        self._changed.set()
        self._changed = asyncio.Event()
