"""The steps of an operation, drawn on a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.models.steps import Key, key_of, words
from shoal_server.cli.units import duration


class _Took(ProgressColumn):
    """How long a step took, or has taken until now."""

    def render(self, task: Task) -> Text:
        took_s: float | None = task.fields["took_s"]
        return Text(duration(task.elapsed or 0.0) if took_s is None else duration(took_s), justify="right")


class Drawing:
    """A row for each step, with what is under way in motion."""

    def __init__(self, goal: str) -> None:
        self._console = Console()
        done = "✓" if self._console.encoding.startswith("utf") else "+"
        self._goal = goal
        self._rows: dict[Key, TaskID] = {}
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
        """Add the step's row, or end it."""
        row = self._rows.get(key_of(step))
        if row is None:
            row = self._progress.add_task(words(step), total=1, took_s=None)
            self._rows[key_of(step)] = row
        if step.HasField("seconds"):
            self._progress.update(row, completed=1, took_s=step.seconds)
