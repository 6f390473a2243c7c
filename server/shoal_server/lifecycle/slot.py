"""One load of one model version: its state, its engine, and the leases on it."""

import asyncio
from typing import Final, Generic, Protocol, TypeVar

from shoal_server.errors import ShoalError, Unavailable
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import LoadedModel
from shoal_server.lifecycle.states import TRANSITIONS, IllegalTransition, VersionState

_READY: Final = VersionState.READY  # a member of an enum is a slow attribute before Python 3.12, and every request asks


class Engine(Protocol):
    """What serves a loaded version."""

    def hurry(self) -> None:
        """Hold nothing back any more: nobody new will come."""
        ...

    def fail_waiting(self, error: ShoalError) -> None:
        """Answer everyone who still waits with an error."""
        ...

    def close(self) -> None:
        """Stop; no lease is left."""
        ...


G = TypeVar("G", bound=Engine)


class VersionSlot(Generic[G]):
    """A version as the catalog knows it. Loop only.

    A request reaches the engine through ``lease`` alone, and ``release`` gives the lease back. A lease is a count, not
    an object, because every request takes one. The model is unloaded after ``drained``, so never under a lease.
    """

    __slots__ = (
        "_drained",
        "definition",
        "engine",
        "kept_until_s",
        "leases",
        "loaded",
        "model",
        "reason",
        "state",
        "trial",
        "uid",
        "version",
    )

    def __init__(self, model: str, version: int, uid: int, definition: ModelDefinition, *, trial: bool = False) -> None:
        """Make a slot; ``trial`` says that it is never to serve, so nobody is told of it."""
        self.model = model
        self.version = version
        self.uid = uid
        self.definition = definition
        self.trial = trial
        self.kept_until_s: float | None = None
        """Monotonic seconds at which a version that was replaced leaves; None where it stays."""
        self.state = VersionState.QUEUED
        self.reason = ""
        self.loaded: LoadedModel | None = None
        self.engine: G | None = None
        self.leases = 0
        self._drained: asyncio.Future[None] | None = None

    def move(self, state: VersionState, reason: str = "") -> None:
        """Go to another state.

        Raises:
            IllegalTransition: the table does not allow it; nothing changed.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.model}/{self.version}: {self.state.value} -> {state.value}")
        self.state = state
        self.reason = reason

    @property
    def digest(self) -> str:
        """The SHA-256 of the model file; empty where it is not loaded."""
        return self.loaded.files[0].sha256 if self.loaded is not None and self.loaded.files else ""

    def serving(self) -> G:
        """Return the engine of a version that is ready.

        Raises:
            Unavailable: the version is not ready.
        """
        if self.state is not _READY or self.engine is None:
            reason = f": {self.reason}" if self.reason not in {"", self.state.value} else ""
            raise Unavailable(f"version {self.version} of model '{self.model}' is {self.state.value}{reason}")
        return self.engine

    def lease(self) -> G:
        """Return the engine and count one more lease on it.

        Raises:
            Unavailable: the version is not ready.
        """
        engine = self.serving()
        self.leases += 1
        return engine

    def release(self, leases: int = 1) -> None:
        """Give leases back."""
        self.leases -= leases
        assert self.leases >= 0, "a lease is released once"
        if not self.leases and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drained(self) -> None:
        """Wait until nobody holds a lease; meaningful once no new one can be had."""
        while self.leases:
            if self._drained is None or self._drained.done():
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)  # others may wait for the same

    def __repr__(self) -> str:
        return f"<VersionSlot {self.model}/{self.version} {self.state.value}, {self.leases} leases>"
