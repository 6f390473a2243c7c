"""Many inferences at once, their results in the order of what was asked, with a bound on what is under way."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, Literal, TypeVar

from shoal_client.errors import CallError, ConfigurationError

T = TypeVar("T")
R = TypeVar("R")

Errors = Literal["raise", "return"]
"""What becomes of an inference that fails: it ends the iteration, or its error is yielded in the place of a result."""

_MOST_AT_ONCE: Final = 4096


def check_bound(bound: int, name: str) -> int:
    """Return how many may be under way at once.

    Raises:
        ConfigurationError: it is not from 1 to 4096.
    """
    if not 1 <= bound <= _MOST_AT_ONCE:
        raise ConfigurationError(f"{name} is from 1 to {_MOST_AT_ONCE}, got {bound}")
    return bound


async def in_order(
    items: Iterable[T] | AsyncIterable[T], run: Callable[[T], Coroutine[Any, Any, R]], bound: int, errors: Errors
) -> AsyncGenerator[R | CallError, None]:
    """Yield what ``run`` gives for each item, in their order; at most ``bound`` are under way or wait to be taken.

    Items are read no further ahead than that. A plain iterable is read on the event loop, so it may not block.

    Raises:
        CallError: an inference failed, with ``errors="raise"``; the others that are under way are cancelled.
        Exception: what ``items`` raised, after the results of the items before.
    """
    free = asyncio.Semaphore(bound)
    begun: asyncio.Queue[asyncio.Future[R] | None] = asyncio.Queue()  # bounded by `free`
    running: set[asyncio.Future[R]] = set()

    async def begin() -> None:
        try:
            await free.acquire()
            async for item in _each(items):
                task = asyncio.ensure_future(run(item))
                running.add(task)
                begun.put_nowait(task)
                await free.acquire()
        finally:
            begun.put_nowait(None)

    feeding = asyncio.ensure_future(begin())
    try:
        while (task := await begun.get()) is not None:
            try:
                result: R | CallError = await task
            except CallError as error:
                if errors == "raise":
                    raise
                result = error
            running.discard(task)
            free.release()
            yield result
        await feeding
    finally:
        feeding.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(feeding, *running, return_exceptions=True)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
