"""The steps of an operation as they begin and end: drawn for people, lines for pipes, JSON for programs."""

import json
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import typer

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.models.steps import Key, key_of, words
from shoal_server.cli.plain import plain
from shoal_server.cli.units import duration


class Steps(Protocol):
    """Shows steps."""

    def show(self, step: pb.Step) -> None:
        """Show a step that has begun or ended; one that is shown as ended already is not shown again."""
        ...


def steps_view(goal: str, *, as_json: bool) -> AbstractContextManager[Steps]:
    """Return what shows the steps of an operation on standard output, according to who reads there."""
    if as_json:
        return _Lines(lambda step: json.dumps({"step": plain(step)}, ensure_ascii=False))
    if sys.stdout.isatty():
        # Here, as rich takes a while to import, and only a terminal is drawn on.
        from shoal_server.cli.models.drawing import Drawing  # noqa: PLC0415 - see above

        return Drawing(goal)
    typer.echo(goal)
    return _Lines(_line)


def _line(step: pb.Step) -> str:
    if step.HasField("seconds"):
        return f"  {words(step)}: {duration(step.seconds)}"
    return f"  {words(step)}: begun after {duration(step.began_s)}"


class _Lines:
    """A line for each beginning and each end."""

    def __init__(self, line: "_Writer") -> None:
        self._line = line
        self._ended: set[Key] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def show(self, step: pb.Step) -> None:
        if key_of(step) not in self._ended:
            typer.echo(self._line(step))
        if step.HasField("seconds"):
            self._ended.add(key_of(step))


class _Writer(Protocol):
    def __call__(self, step: pb.Step) -> str: ...
