"""An event loop on a thread of its own, for callers who have none."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from shoal_client.errors import ClientClosed

T = TypeVar("T")

_LEAVE_S: Final = 10.0


class LoopThread:
    """Runs coroutines for any number of threads. Start it once, stop it once."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a coroutine on the loop.

        Raises:
            ClientClosed: the loop has ended, or its own thread asks, which would wait for itself.
        """
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise ClientClosed("the client is not open: use it inside `with`")
        if threading.current_thread() is self._thread:
            work.close()
            raise ClientClosed("a blocking client cannot be used from its own callbacks")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; who is interrupted meanwhile (Ctrl-C) cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def runs(self) -> bool:
        """Whether it was started and has not been stopped."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the loop, and everything on it."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None, "made by `start`"
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
