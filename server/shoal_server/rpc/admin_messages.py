"""What the lifecycle knows, in the messages of the admin service."""

from typing import Final

from shoal.admin import admin_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_server.clock import Clock
from shoal_server.lifecycle.catalog import ModelEntry
from shoal_server.lifecycle.progress import Result, Step, StepKind
from shoal_server.lifecycle.states import VersionState

STATES: Final = {
    VersionState.QUEUED: pb.QUEUED,
    VersionState.LOADING: pb.LOADING,
    VersionState.WARMING: pb.WARMING_UP,
    VersionState.READY: pb.READY,
    VersionState.DRAINING: pb.DRAINING,
    VersionState.UNLOADING: pb.UNLOADING,
    VersionState.UNLOADED: pb.UNLOADED,
    VersionState.FAILED: pb.FAILED,
}

KINDS: Final = {
    StepKind.DESCRIBE: pb.Step.DESCRIBE,
    StepKind.LOAD: pb.Step.LOAD,
    StepKind.WARM_UP: pb.Step.WARM_UP,
    StepKind.RECORD: pb.Step.RECORD,
    StepKind.PUBLISH: pb.Step.PUBLISH,
    StepKind.DRAIN: pb.Step.DRAIN,
    StepKind.UNLOAD: pb.Step.UNLOAD,
}


def step_message(step: Step) -> pb.Step:
    """Tell a step."""
    return pb.Step(kind=KINDS[step.kind], version=step.version, began_s=step.began_s, seconds=step.seconds)


def result_message(result: Result) -> pb.OperationResult:
    """Tell what an operation did."""
    memory = result.memory
    return pb.OperationResult(
        model=result.model,
        previous_version=result.before,
        current_version=result.after,
        changed=result.changed,
        steps=map(step_message, result.steps),
        seconds=result.seconds,
        files=[pb.FileDigest(name=file.name, sha256=file.sha256, size_bytes=file.size_bytes) for file in result.files],
        memory=pb.Memory(
            before_bytes=memory.before_bytes, peak_bytes=memory.peak_bytes, after_bytes=memory.after_bytes
        ),
        kept_warm_until=result.kept_until_epoch_s,
        recorded=result.recorded,
        remarks=result.remarks,
    )


def model_message(name: str, entry: ModelEntry[Batcher], operation: str, clock: Clock) -> pb.Model:
    """Tell a model as it is now."""
    answering = entry.answering
    model = pb.Model(
        name=name,
        current_version=answering.version if answering is not None else 0,
        labels=entry.labels,
        problem=entry.problem,
        operation=operation,
    )
    for number in sorted({*entry.versions, *entry.refused}):
        slot = entry.versions.get(number)
        if slot is None:
            model.versions.add(version=number, state=pb.FAILED, reason=entry.refused[number])
            continue
        model.versions.add(
            version=number,
            state=STATES[slot.state],
            reason=slot.reason,
            digest=slot.digest,
            requests=slot.leases,
            kept_warm_until=_epoch(slot.kept_until_s, clock),
        )
    return model


def _epoch(at_s: float | None, clock: Clock) -> float:
    return 0.0 if at_s is None else clock.epoch() + at_s - clock.monotonic()
