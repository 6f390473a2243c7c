"""An operator of a real server: the admin service by plain gRPC, and what came back as values."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from shoal.admin import admin_pb2 as pb
from shoal_testing.caller import WITHIN_S, Caller, Outcome

ADMIN: Final = "/shoal.admin.v1.AdminService/"

Change = pb.SwapVersionRequest | pb.LoadVersionRequest | pb.UnloadVersionRequest | pb.RollbackRequest

_PATHS: Final = {
    pb.SwapVersionRequest: "SwapVersion",
    pb.LoadVersionRequest: "LoadVersion",
    pb.UnloadVersionRequest: "UnloadVersion",
    pb.RollbackRequest: "Rollback",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What an operation told: its steps as they ended, its result, and how the stream ended."""

    begun: list[str]
    ended: list[str]
    result: pb.OperationResult
    outcome: Outcome = field(default_factory=lambda: Outcome("OK"))

    @property
    def done(self) -> pb.OperationResult:
        """The result of an operation that succeeded."""
        assert self.outcome.status == "OK", self.outcome
        return self.result


class Operator(Caller):
    """A connection of an operator."""

    def swap(self, model: str, version: int, change: pb.Change | None = None, **more: object) -> Told:
        return self.operate(pb.SwapVersionRequest(model=model, version=version, change=change, **more))  # type: ignore[arg-type]

    def load(self, model: str, version: int, change: pb.Change | None = None) -> Told:
        return self.operate(pb.LoadVersionRequest(model=model, version=version, change=change))

    def unload(self, model: str, version: int, change: pb.Change | None = None, *, force: bool = False) -> Told:
        return self.operate(pb.UnloadVersionRequest(model=model, version=version, change=change, force=force))

    def roll_back(self, model: str, change: pb.Change | None = None) -> Told:
        return self.operate(pb.RollbackRequest(model=model, change=change))

    def label(self, model: str, label: str, version: int) -> tuple[pb.SetLabelResponse, Outcome]:
        message = pb.SetLabelRequest(model=model, label=label, version=version).SerializeToString()
        outcome = self.call(message, ADMIN + "SetLabel")
        return pb.SetLabelResponse.FromString(outcome.message), outcome

    def models(self, model: str = "") -> dict[str, pb.Model]:
        outcome = self.call(pb.ListModelsRequest(model=model).SerializeToString(), ADMIN + "ListModels")
        assert outcome.status == "OK", outcome
        return {found.name: found for found in pb.ListModelsResponse.FromString(outcome.message).models}

    def states(self, model: str) -> dict[int, str]:
        """Return version -> state."""
        return {version.version: pb.VersionState.Name(version.state) for version in self.models(model)[model].versions}

    def drain(self, wait_s: float = 0.0, *, undo: bool = False) -> Outcome:
        return self.call(pb.DrainRequest(wait_s=wait_s, undo=undo).SerializeToString(), ADMIN + "Drain")

    def operate(self, request: Change) -> Told:
        """Ask for a change and follow it to its end."""
        begun, ended, result = [], [], pb.OperationResult()
        try:
            for update in self.updates(request):
                kind = pb.Step.Kind.Name(update.step.kind)
                if update.HasField("result"):
                    result = update.result
                elif update.step.HasField("seconds"):
                    ended.append(kind)
                else:
                    begun.append(kind)
        except grpc.RpcError as error:
            return Told(begun, ended, result, Outcome(error.code().name, error.details() or ""))
        return Told(begun, ended, result)

    def updates(self, request: Change) -> "Updates":
        """Ask for a change and follow it as it goes."""
        method: grpc.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(ADMIN + _PATHS[type(request)])
        return Updates(method(request.SerializeToString(), timeout=WITHIN_S))

    def watch(self, model: str = "") -> "Events":
        """Follow what changes."""
        method: grpc.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(ADMIN + "WatchModels")
        return Events(method(pb.WatchModelsRequest(model=model).SerializeToString(), timeout=WITHIN_S))


class Updates:
    """What an operation tells; ``cancel`` leaves it."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - grpcio's own call
        self._call = call

    def __iter__(self) -> Iterator[pb.OperationUpdate]:
        for message in self._call:
            yield pb.OperationUpdate.FromString(message)

    def cancel(self) -> None:
        self._call.cancel()


class Events:
    """What a watch tells."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - grpcio's own call
        self._call = call

    def __iter__(self) -> Iterator[pb.ModelEvent]:
        for message in self._call:
            yield pb.ModelEvent.FromString(message)

    def cancel(self) -> None:
        self._call.cancel()
