"""What an operation has done, in words."""

from collections.abc import Iterator

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.units import duration, local_time, size


def told(result: pb.OperationResult, goal: str, *, dry_run: bool) -> Iterator[str]:
    """Yield the lines that tell an operation's result; ``goal`` is what was asked for."""
    yield _headline(result, goal, dry_run=dry_run)
    yield _row("took", duration(result.seconds))
    for file in result.files:
        yield _row("file", f"{file.name}, {size(file.size_bytes)}, sha256 {file.sha256}")
    yield _row("memory", _memory(result.memory))
    if result.kept_warm_until:
        yield _row(
            "kept warm",
            f"version {result.previous_version} until {local_time(result.kept_warm_until)}: "
            f"`shoal models rollback {result.model}` lets it answer again at once",
        )
    if result.changed:
        yield _row("recorded", "yes, a restarted server serves the same" if result.recorded else "no")
    for remark in result.remarks:
        yield _row("remark", " ".join(remark.split()))


def _headline(result: pb.OperationResult, goal: str, *, dry_run: bool) -> str:
    before, now = result.previous_version, result.current_version
    if dry_run:
        return f"dry run: this would work ({goal}); nothing was changed"
    if not result.changed:
        return f"{result.model}: all is so already, nothing was changed; {_answers(now)}"
    if before == now:
        return f"{result.model}: done; {_answers(now)}, as before"
    if not now:
        return f"{result.model}: done; no version answers calls without a version any more, version {before} did"
    return f"{result.model}: version {now} answers now" + (f", in the place of version {before}" if before else "")


def _answers(version: int) -> str:
    return f"version {version} answers" if version else "no version answers calls without a version"


def _memory(memory: pb.Memory) -> str:
    if not memory.peak_bytes:
        return "not known here"
    return (
        f"{size(memory.before_bytes)} before, {size(memory.peak_bytes)} at its peak, {size(memory.after_bytes)} after"
    )


def _row(name: str, text: str) -> str:
    return f"  {name:<9}  {text}"
