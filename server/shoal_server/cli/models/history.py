"""What has changed about a model between two looks at it, in words."""

from collections.abc import Iterator

from shoal.admin import admin_pb2 as pb


def changes(before: pb.Model | None, now: pb.Model) -> Iterator[str]:
    """Yield a sentence for each difference; all that there is to tell where there was no earlier look."""
    earlier = before or pb.Model(name=now.name)
    name = now.name
    if now.operation != earlier.operation:
        yield f"{name}: {now.operation} has begun" if now.operation else f"{name}: {earlier.operation} has ended"
    versions = {version.version: version for version in earlier.versions}
    for version in now.versions:
        old = versions.pop(version.version, None)
        if old is None or (old.state, old.reason) != (version.state, version.reason):
            yield f"{name} version {version.version}: {_state(old, version)}"
        if version.kept_warm_until and (old is None or not old.kept_warm_until):
            yield f"{name} version {version.version}: kept warm"
    for gone in versions:
        yield f"{name} version {gone}: gone"
    if now.current_version != earlier.current_version:
        answers = f"version {now.current_version}" if now.current_version else "no version"
        yield f"{name}: {answers} answers now"
    for label in sorted(now.labels.keys() | earlier.labels.keys()):
        if now.labels.get(label) != earlier.labels.get(label):
            stands = f"version {now.labels[label]}" if label in now.labels else "no version any more"
            yield f"{name}: label {label} stands for {stands}"
    if now.problem and now.problem != earlier.problem:
        yield f"{name}: {' '.join(now.problem.split())}"


def state_name(state: int) -> str:
    """Return the name of a state; its number where this version does not know it."""
    known = pb.VersionState.DESCRIPTOR.values_by_number.get(state)
    return str(state) if known is None else known.name


def _state(old: pb.Version | None, version: pb.Version) -> str:
    state = state_name(version.state)
    if old is not None and old.state != version.state:
        state = f"{state_name(old.state)} -> {state}"
    reason = " ".join(version.reason.split())
    return f"{state}, {reason}" if reason and reason.upper() != state_name(version.state) else state
