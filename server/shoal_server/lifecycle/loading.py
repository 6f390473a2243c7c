"""One load on a thread, and its limit."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.ports import Job, LoadedModel
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.lifecycle.surroundings import Surroundings


class Loading(Generic[G]):
    """One load on a thread. It is given up after its limit, which runs from where the thread begins.

    ``reached`` hears on the loop which state the thread has come to, and when it did, in monotonic seconds: the thread
    holds the interpreter while a session is made, so that the loop hears of it late.
    """

    def __init__(
        self, slot: VersionSlot[G], around: Surroundings[G], reached: Callable[[VersionState, float], None]
    ) -> None:
        self._slot = slot
        self._around = around
        self._tell = reached
        self._given_up = False
        self._limit: asyncio.TimerHandle | None = None
        self._job: Job[LoadedModel]

    async def result(self) -> LoadedModel:
        """Return the model.

        Raises:
            LoadFailed: it cannot be served, or the time is up.
        """
        self._job = self._around.workers.call(self._work)
        try:
            return await self._job
        finally:
            if self._limit is not None:
                self._limit.cancel()

    def _work(self) -> LoadedModel:
        """On the thread."""
        self._post(VersionState.LOADING)
        warming = partial(self._post, VersionState.WARMING)
        loaded = self._around.loader.load(self._slot.definition, self._slot.version, warming)
        if self._given_up:
            loaded.close()  # nobody will
        return loaded

    def _post(self, state: VersionState) -> None:
        """On the thread."""
        self._around.workers.post(self._reached, (state, self._around.clock.monotonic()))

    def _reached(self, news: tuple[VersionState, float]) -> None:
        state, at_s = news
        if self._given_up:
            return
        if state is VersionState.LOADING:
            limit_s = self._around.load_limit_s
            self._limit = asyncio.get_running_loop().call_later(limit_s, self._give_up, limit_s)
        self._tell(state, at_s)

    def _give_up(self, limit_s: float) -> None:
        self._given_up = True
        self._job.give_up(LoadFailed(f"it was still {self._slot.state.value} after {limit_s:g} s and was given up"))
