"""Progress of many inferences: a bar on the terminal where rich is installed, or a callback of the caller's."""

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from importlib.util import find_spec

from shoal_client.errors import ConfigurationError

Progress = bool | Callable[[int, int | None], None]
"""True: a bar on standard error; a callback gets how many are done, and of how many (None where nobody knows)."""


@contextmanager
def progress_of(progress: Progress, items: object, what: str) -> Iterator[Callable[[], None]]:
    """Give a function that is called once per item that is done.

    Raises:
        ConfigurationError: a bar is wanted and rich is not installed.
    """
    total = len(items) if isinstance(items, Sized) else None
    if progress is False:
        yield lambda: None
    elif progress is True:
        with _bar(what, total) as advance:
            yield advance
    else:
        callback, done = progress, 0

        def tell() -> None:
            nonlocal done
            done += 1
            callback(done, total)

        yield tell


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    if find_spec("rich") is None:
        raise ConfigurationError("a progress bar needs the package 'rich'; or give a callback: progress=callback")
    from rich.console import Console  # noqa: PLC0415 - optional
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
