"""The way back from any thread to the loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Mailbox:
    """Calls functions on the loop, in the order of the posts, waking it once for however many have gathered.

    One mailbox serves all who post to a loop: an executor thread that answers a batch and then reports its end wakes
    the loop once and not twice.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posts: deque[tuple[Callable[[object], None], object]] = deque()
        self._waking = False

    def post(self, deliver: Callable[[T], None], message: T) -> None:
        """Have ``deliver(message)`` called on the loop; from any thread. ``deliver`` must not raise.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._posts.append((deliver, message))  # type: ignore[arg-type] # each function gets what it was posted with
        if not self._waking:
            # The flag falls before the deque is emptied, so a message posted meanwhile is seen or wakes the loop again.
            self._waking = True
            self.loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """Deliver what has gathered; on the loop."""
        self._waking = False
        posts = self._posts
        while posts:
            deliver, message = posts.popleft()
            try:
                deliver(message)
            except Exception as error:  # noqa: BLE001 - a bug in one must not keep the others' messages
                self.loop.call_exception_handler({"message": "a delivery failed", "exception": error})
