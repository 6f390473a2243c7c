"""Two copies of a request: the second starts only if the first is slow, and the first answer wins."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def race(
    first: Coroutine[Any, Any, T],
    second: Callable[[], Coroutine[Any, Any, T] | None],
    after_s: float,
    mends: Callable[[BaseException], bool],
) -> T:
    """Return the first answer; whoever loses is cancelled and has ended when this returns.

    Args:
        first: the request.
        second: makes the copy, once, when the first has taken ``after_s`` seconds; None sends none.
        after_s: see ``second``.
        mends: whether a failure leaves hope in the other one. One that does not ends both.

    Raises:
        BaseException: the failure that ended both, or the last one.
    """
    tasks = [asyncio.ensure_future(first)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done:
            copy = second()
            if copy is not None:
                tasks.append(asyncio.ensure_future(copy))
        failure: BaseException | None = None
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            failures = [task.exception() for task in tasks if task in done]
            if None in failures:
                return next(task for task in tasks if task in done and task.exception() is None).result()
            failure = next((error for error in failures if error and not mends(error)), failures[-1])
            if failure is not None and not mends(failure):
                break
        assert failure is not None
        raise failure
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
