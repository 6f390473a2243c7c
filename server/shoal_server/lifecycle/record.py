"""What operators want of all models, in memory and in the state folder."""

import asyncio
from collections.abc import Mapping

from shoal_server.errors import PreconditionFailed
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.ports import StateStore, Workers


class Record:
    """Writes every change as a whole, one after the other. Loop only; the store is used on a thread.

    Where the store is required, a change that it cannot take is refused; else the change holds until the process ends.
    """

    def __init__(self, store: StateStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self._desired: Mapping[str, Desired] = {}
        self._written: Mapping[str, Desired] = {}
        self._writing = asyncio.Lock()

    async def read(self) -> Mapping[str, Desired]:
        """Return what was written last.

        Raises:
            LoadFailed: it cannot be read or understood.
        """
        self._desired = self._written = await self._workers.call(self._store.read)
        return self._desired

    async def prepare(self) -> None:
        """Look whether a change could be recorded, if it must be.

        Raises:
            PreconditionFailed: it must be and cannot.
        """
        if self._store.required:
            async with self._writing:
                await self._workers.call(self._store.prepare)

    async def put(self, model: str, desired: Desired) -> str:
        """Record what is wanted of a model; return why that did not work where it need not.

        Raises:
            PreconditionFailed: it must work and did not; nothing changed.
        """
        async with self._writing:
            changed = {name: wanted for name, wanted in self._desired.items() if name != model}
            if not desired.empty:
                changed[model] = desired
            if changed == self._written:
                self._desired = changed
                return ""
            try:
                await self._workers.call(lambda: self._store.write(changed))
            except PreconditionFailed as error:
                if self._store.required:
                    raise
                self._desired = changed  # the next change that can be written takes this one with it
                return str(error)
            self._desired = self._written = changed
            return ""
