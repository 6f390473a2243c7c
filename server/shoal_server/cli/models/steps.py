"""A step of an operation: what it is for people, and what tells it apart."""

from typing import Final

from shoal.admin import admin_pb2 as pb

_WORDS: Final = {
    pb.Step.DESCRIBE: "look what there is",
    pb.Step.LOAD: "load version {0}",
    pb.Step.WARM_UP: "warm up version {0}",
    pb.Step.RECORD: "record what is wanted",
    pb.Step.PUBLISH: "publish version {0}",
    pb.Step.DRAIN: "drain version {0}",
    pb.Step.UNLOAD: "unload version {0}",
}
Key = tuple[int, int, float]


def words(step: pb.Step) -> str:
    """Return what a step does, for people."""
    if step.kind == pb.Step.PUBLISH and not step.version:
        return "publish what is left"
    return _WORDS.get(step.kind, f"step {step.kind} of version {{0}}").format(step.version)


def key_of(step: pb.Step) -> Key:
    """Return what is the same for a step as it begins and as it ends."""
    return step.kind, step.version, step.began_s
