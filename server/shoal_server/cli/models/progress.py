"""The steps of an operation as they begin and end: drawn for people, lines for pipes, JSON for programs."""

import json
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.plain import plain
from shoal_server.cli.units import duration

_WORDS: Final = {
    pb.Step.DESCRIBE: "look what there is",
    pb.Step.LOAD: "load version {0}",
    pb.Step.WARM_UP: "warm up version {0}",
    pb.Step.RECORD: "record what is wanted",
    pb.Step.PUBLISH: "publish version {0}",
    pb.Step.DRAIN: "drain version {0}",
    pb.Step.UNLOAD: "unload version {0}",
}
_Key = tuple[int, int, float]


class Steps(Protocol):
    """Shows steps."""

    def show(self, step: pb.Step) -> None:
        """Show a step that has begun or ended; one that is shown as ended already is not shown again."""
        ...


def words(step: pb.Step) -> str:
    """Return what a step does, for people."""
    if step.kind == pb.Step.PUBLISH and not step.version:
        return "publish what is left"
    return _WORDS.get(step.kind, f"step {step.kind} of version {{0}}").format(step.version)


def steps_view(goal: str, *, as_json: bool) -> AbstractContextManager[Steps]:
    """Return what shows the steps of an operation on standard output, according to who reads there."""
    if as_json:
        return _Lines(lambda step: json.dumps({"step": plain(step)}, ensure_ascii=False))
    if sys.stdout.isatty():
        return _Drawing(goal)
    typer.echo(goal)
    return _Lines(_line)


def _line(step: pb.Step) -> str:
    if step.HasField("seconds"):
        return f"  {words(step)}: {duration(step.seconds)}"
    return f"  {words(step)}: begun after {duration(step.began_s)}"


def _key(step: pb.Step) -> _Key:
    return step.kind, step.version, step.began_s


class _Lines:
    """A line for each beginning and each end."""

    def __init__(self, line: "_Writer") -> None:
        self._line = line
        self._ended: set[_Key] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def show(self, step: pb.Step) -> None:
        if _key(step) not in self._ended:
            typer.echo(self._line(step))
        if step.HasField("seconds"):
            self._ended.add(_key(step))


class _Writer(Protocol):
    def __call__(self, step: pb.Step) -> str: ...


class _Took(ProgressColumn):
    """How long a step took, or has taken until now."""

    def render(self, task: Task) -> Text:
        took_s: float | None = task.fields["took_s"]
        return Text(duration(task.elapsed or 0.0) if took_s is None else duration(took_s), justify="right")


class _Drawing:
    """A row for each step, with what is under way in motion."""

    def __init__(self, goal: str) -> None:
        self._console = Console()
        done = "✓" if self._console.encoding.startswith("utf") else "+"
        self._goal = goal
        self._rows: dict[_Key, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn("line", finished_text=done),
            TextColumn("{task.description}", markup=False),
            _Took(),
            console=self._console,
        )

    def __enter__(self) -> Self:
        self._console.print(Text(self._goal))
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            for task in self._progress.tasks:
                if not task.finished:
                    self._progress.update(task.id, description=f"{task.description} (not seen to end)")
                    self._progress.stop_task(task.id)
        self._progress.stop()

    def show(self, step: pb.Step) -> None:
        row = self._rows.get(_key(step))
        if row is None:
            row = self._progress.add_task(words(step), total=1, took_s=None)
            self._rows[_key(step)] = row
        if step.HasField("seconds"):
            self._progress.update(row, completed=1, took_s=step.seconds)
