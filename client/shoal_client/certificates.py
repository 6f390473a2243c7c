"""Keeps a client's connections on the certificates that the files hold now."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from shoal_client.channel import Connection
from shoal_client.errors import ConfigurationError
from shoal_client.tls import Material, Tls, read_material

_log = logging.getLogger(__name__)

_SOONEST_S: Final = 0.25  # between two looks that failing calls ask for


class Certificates:
    """Looks at the files every ``check_every_s``, and at once when a connection has failed; from one event loop.

    What cannot be used is logged once and passed over: the connections stay as they are.
    """

    def __init__(self, tls: Tls, material: Material, connections: Sequence[Connection], grace_s: float) -> None:
        self._tls = tls
        self._material = material
        self._connections = connections
        self._grace_s = grace_s
        self._asked = asyncio.Event()
        self._looking = asyncio.Lock()
        self._complaint = ""

    def suspect(self) -> None:
        """A connection has failed, which new certificates might mend: look soon."""
        self._asked.set()

    async def renew(self, read: Callable[[Tls], Material] = read_material) -> bool:
        """Look at the files now; return whether the connections were replaced.

        Raises:
            ConfigurationError: what they hold cannot be used.
        """
        async with self._looking:
            material = await asyncio.to_thread(read, self._tls)
            if material == self._material:
                return False
            self._material = material
            for connection in self._connections:
                connection.replace(material, self._grace_s)
            _log.info("new certificates are in use")
            return True

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tls.check_every_s):
                    await self._asked.wait()
            try:
                await self.renew()
                self._complaint = ""
            except ConfigurationError as error:
                if str(error) != self._complaint:
                    _log.warning("the certificates in use are kept: %s", error)
                self._complaint = str(error)
            await asyncio.sleep(min(_SOONEST_S, self._tls.check_every_s))
            self._asked.clear()
