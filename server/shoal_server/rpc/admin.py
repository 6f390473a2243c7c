"""The admin service: shoal/admin/admin.proto."""

import math
from typing import Any, Final

from shoal.admin import admin_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_server.clock import Clock
from shoal_server.errors import InvalidRequest, NotFound
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_server.rpc.admin_messages import model_message, result_message, step_message
from shoal_server.rpc.cold import cold, streamed
from shoal_server.rpc.door import Door
from shoal_server.transport.port import Routes, Stream

_ADMIN: Final = "/shoal.admin.v1.AdminService/"
_MOST_WAIT_S: Final = 3600.0


class AdminMethods:
    """Operations on models, what there is, and the door."""

    def __init__(self, manager: Manager[Batcher], door: Door, clock: Clock) -> None:
        self._manager = manager
        self._door = door
        self._clock = clock

    async def swap(self, request: pb.SwapVersionRequest, stream: Stream) -> None:
        """Let a version answer in the place of the one that does."""
        swap = Swap(
            model=request.model,
            version=request.version,
            keep_warm_s=request.keep_warm_s if request.HasField("keep_warm_s") else None,
            allow_signature_change=request.allow_signature_change,
            **_change(request.change),
        )
        await self._operate(swap, stream)

    async def load(self, request: pb.LoadVersionRequest, stream: Stream) -> None:
        """Load a version beside the one that answers."""
        load = Load(model=request.model, version=request.version, **_change(request.change))
        await self._operate(load, stream)

    async def unload(self, request: pb.UnloadVersionRequest, stream: Stream) -> None:
        """Take a version out."""
        change = _change(request.change)
        await self._operate(Unload(model=request.model, version=request.version, force=request.force, **change), stream)

    async def roll_back(self, request: pb.RollbackRequest, stream: Stream) -> None:
        """Let the version answer again that the last swap replaced."""
        await self._operate(Rollback(model=request.model, **_change(request.change)), stream)

    async def set_label(self, request: pb.SetLabelRequest) -> pb.SetLabelResponse:
        """Let a label stand for a version."""
        change = _change(request.change)
        label = SetLabel(model=request.model, label=request.label, version=request.version, **change)
        result = await self._manager.operations.begin(label).result()
        return pb.SetLabelResponse(
            previous_version=result.label_before, changed=result.changed, recorded=result.recorded
        )

    async def list(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """Every model as it is now."""
        models = self._manager.catalog.models
        if request.model and request.model not in models:
            raise NotFound(f"unknown model {request.model!r:.120}")
        names = [request.model] if request.model else sorted(models)
        return pb.ListModelsResponse(models=[self._model(name) for name in names])

    async def watch(self, request: pb.WatchModelsRequest, stream: Stream) -> None:
        """Every model as it is now, and again where it changes; a model that is unknown may come to be known."""
        count = 0
        first = True
        async for changed in self._manager.keeper.changes.follow():
            models = self._manager.catalog.models
            names = sorted(models if first else changed)
            told = [name for name in names if name in models and request.model in ("", name)]
            for name in told:
                caught_up = not first or name == told[-1]
                stream.send(pb.ModelEvent(model=self._model(name), caught_up=caught_up).SerializeToString())
                count += 1
                # Who reads slowly is told of each model as it then is; until then, its changes gather.
                await stream.sent(count)
            if first and not told:
                stream.send(pb.ModelEvent(caught_up=True).SerializeToString())
                count += 1
            first = False

    async def drain(self, request: pb.DrainRequest) -> pb.DrainResponse:
        """Let nobody in any more, or everybody again."""
        if not (math.isfinite(request.wait_s) and 0 <= request.wait_s <= _MOST_WAIT_S):
            raise InvalidRequest(f"a drain waits for 0 to {_MOST_WAIT_S:g} s, got {request.wait_s:g}")
        if request.undo:
            self._door.open()
        else:
            self._door.close()
            await self._door.emptied(request.wait_s)
        return pb.DrainResponse(requests=self._door.inside)

    async def _operate(self, request: Request, stream: Stream) -> None:
        """Begin an operation, or join it, and tell how it goes."""
        operation = self._manager.operations.begin(request)
        async for step in operation.follow():
            stream.send(pb.OperationUpdate(step=step_message(step)).SerializeToString())
        result = await operation.result()
        stream.send(pb.OperationUpdate(result=result_message(result)).SerializeToString())

    def _model(self, name: str) -> pb.Model:
        entry = self._manager.catalog.models.get(name, ModelEntry())
        turn = self._manager.turns.running(name)
        return model_message(name, entry, turn.what if turn is not None else "", self._clock)


def admin_routes(manager: Manager[Batcher], door: Door, clock: Clock) -> Routes:
    """Return the routes of the admin service."""
    admin = AdminMethods(manager, door, clock)
    streams = dict(
        [
            streamed(_ADMIN + "SwapVersion", pb.SwapVersionRequest, admin.swap),
            streamed(_ADMIN + "LoadVersion", pb.LoadVersionRequest, admin.load),
            streamed(_ADMIN + "UnloadVersion", pb.UnloadVersionRequest, admin.unload),
            streamed(_ADMIN + "Rollback", pb.RollbackRequest, admin.roll_back),
            streamed(_ADMIN + "WatchModels", pb.WatchModelsRequest, admin.watch),
        ]
    )
    return Routes(
        cold=dict(
            [
                cold(_ADMIN + "SetLabel", pb.SetLabelRequest, admin.set_label),
                cold(_ADMIN + "ListModels", pb.ListModelsRequest, admin.list),
                cold(_ADMIN + "Drain", pb.DrainRequest, admin.drain),
            ]
        ),
        streams=streams,
        first_message_only=frozenset(streams),
    )


def _change(change: pb.Change) -> Any:  # noqa: ANN401 - the fields that all requests share
    return {
        "key": change.idempotency_key,
        "expected": change.expected_current_version,
        "dry_run": change.dry_run,
    }
