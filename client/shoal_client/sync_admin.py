"""The admin service for callers without an event loop."""

from collections.abc import Generator
from typing import Unpack

from shoal_client.admin import AsyncAdmin, ChangeArguments
from shoal_client.following import Operation
from shoal_client.loop_thread import LoopThread
from shoal_client.operation import LabelChange, ModelEvent, ModelStatus, OperationResult


class Admin:
    """As ``AsyncAdmin``, each call waiting for its end; ``on_step`` is called meanwhile, from the client's thread."""

    def __init__(self, admin: AsyncAdmin, loop: LoopThread) -> None:
        self._admin = admin
        self._loop = loop

    def swap(
        self,
        model: str,
        version: int,
        *,
        keep_warm_s: float | None = None,
        allow_signature_change: bool = False,
        **change: Unpack[ChangeArguments],
    ) -> OperationResult:
        """See ``AsyncAdmin.swap``."""
        return self._finish(
            self._admin.swap(
                model, version, keep_warm_s=keep_warm_s, allow_signature_change=allow_signature_change, **change
            )
        )

    def load(self, model: str, version: int, **change: Unpack[ChangeArguments]) -> OperationResult:
        """See ``AsyncAdmin.load``."""
        return self._finish(self._admin.load(model, version, **change))

    def unload(
        self, model: str, version: int, *, force: bool = False, **change: Unpack[ChangeArguments]
    ) -> OperationResult:
        """See ``AsyncAdmin.unload``."""
        return self._finish(self._admin.unload(model, version, force=force, **change))

    def rollback(self, model: str, **change: Unpack[ChangeArguments]) -> OperationResult:
        """See ``AsyncAdmin.rollback``."""
        return self._finish(self._admin.rollback(model, **change))

    def set_label(self, model: str, label: str, version: int, **change: Unpack[ChangeArguments]) -> LabelChange:
        """See ``AsyncAdmin.set_label``."""
        return self._loop.run(self._admin.set_label(model, label, version, **change))

    def list(self, model: str = "", *, timeout_s: float | None = None) -> tuple[ModelStatus, ...]:
        """See ``AsyncAdmin.list``."""
        return self._loop.run(self._admin.list(model, timeout_s=timeout_s))

    def watch(self, model: str = "") -> Generator[ModelEvent, None, None]:
        """See ``AsyncAdmin.watch``."""
        events = self._admin.watch(model)

        async def following() -> ModelEvent | None:
            return await anext(events, None)

        try:
            while (event := self._loop.run(following())) is not None:
                yield event
        finally:
            self._loop.run(events.aclose())

    def drain(self, *, wait_s: float = 0.0, undo: bool = False, timeout_s: float | None = None) -> int:
        """See ``AsyncAdmin.drain``."""
        return self._loop.run(self._admin.drain(wait_s=wait_s, undo=undo, timeout_s=timeout_s))

    def _finish(self, operation: Operation) -> OperationResult:
        async def finish() -> OperationResult:
            return await operation

        return self._loop.run(finish())
