"""Waiting until a moment more precisely than an event loop's timers, which round up to a millisecond.

On Linux by a timer that is a file (timerfd_create(2)): late by about 50 us, without spinning. Elsewhere by the loop.
"""

import asyncio
import ctypes
import os
import sys
import time
from types import TracebackType
from typing import Final, Self

_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE: Final = 1
_NANO: Final = 1_000_000_000


class _Spec(ctypes.Structure):
    """The struct itimerspec: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Pacer:
    """Lets one coroutine at a time wait until a moment on the monotonic clock. Open between ``with`` and its end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.Future[None] | None = None
        self._libc: ctypes.CDLL | None = None
        self._timer = -1

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._timer = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
            if self._timer < 0:
                raise OSError(ctypes.get_errno(), "no timer can be had")
            self._loop.add_reader(self._timer, self._expired)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)

    async def until(self, at_s: float) -> None:
        """Wait until ``time.monotonic()`` is ``at_s``; at once where it has passed."""
        if at_s <= time.monotonic():
            return
        if self._libc is None:
            await asyncio.sleep(at_s - time.monotonic())
            return
        self._due = self._loop.create_future()
        seconds, nanoseconds = divmod(int(at_s * _NANO), _NANO)
        if self._libc.timerfd_settime(self._timer, _ABSOLUTE, ctypes.byref(_Spec(0, 0, seconds, nanoseconds)), None):
            raise OSError(ctypes.get_errno(), "the timer cannot be set")
        await self._due

    def _expired(self) -> None:
        os.read(self._timer, 8)
        if self._due is not None and not self._due.done():
            self._due.set_result(None)
