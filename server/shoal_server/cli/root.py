"""All commands under one name. A command's module is imported only when it is the one that was typed."""

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Final

import typer

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.help_text import help_of

# Kept here, so that `shoal --help` need not wait for gRPC, numpy and the settings to be imported.
SUMMARIES: Final[Mapping[str, str]] = {
    "serve": "Serve the models under a path until told to stop.",
    "health": "Ask whether a server, or one of its models, is ready.",
    "models": "List the models of a server, or change what it serves.",
    "drain": "Let nobody in any more and wait for those inside.",
    "infer": "Run a model of a server once.",
    "certs": "Make certificates to try things with, or show one.",
    "config": "Print the configuration in force and its origins.",
    "bench": "Load-test a server: rates, latencies, capacity.",
    "doctor": "Tell what is installed here and what would be slow.",
    "version": "Print the version.",
}
"""Each command and the first line of its help; `shoal_server.cli.NAME.command` is the command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code: 0, 1 for a failure, 2 for a command or configuration that is wrong."""
    if list(arguments) == ["--version"]:  # as most programs have it
        arguments = ["version"]
    with _uncollected():
        root = typer.main.get_command(_root(arguments))
    try:
        result = root.main(args=list(arguments) or ["--help"], prog_name="shoal", standalone_mode=False)
    except Failure as failure:
        _complain(str(failure))
        return failure.exit_code
    except typer.TyperException as error:
        _complain(f"{error.format_message()} (`{_typed(root, arguments)} --help` explains)")
        return MISUSED
    return int(result or 0)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from looking, now and later, through what is imported, which stays to the end.

    It would take a tenth of the import, as much at the end of the process, and some of it whenever all is looked at.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _typed(command: object, arguments: Sequence[str]) -> str:
    """Return the command that the first words name, as far as there are such."""
    words = ["shoal"]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _complain(message: str) -> None:
    """Print one line to standard error, whatever names and texts from elsewhere are in the message."""
    typer.echo("shoal: " + " ".join(message.split()), err=True)


def _root(arguments: Sequence[str]) -> typer.Typer:
    root = typer.Typer(
        name="shoal",
        help="A gRPC inference server for ONNX models that batches requests across callers.",
        epilog="To begin: `shoal serve model.onnx`, then `shoal models` in another terminal.",
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        # Boxes and colours for people; a pipe gets plain text, and sooner.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
    )
    for name, summary in SUMMARIES.items():
        if arguments[:1] == [name]:
            module = import_module(f"shoal_server.cli.{name}")
            group: typer.Typer | None = getattr(module, "group", None)
            if group is not None:  # it has commands of its own
                root.add_typer(group, name=name, help=help_of(module.command))
            else:
                settings = getattr(module, "context_settings", None)
                root.command(name, help=help_of(module.command), context_settings=settings)(module.command)
        else:
            root.command(name, help=summary)(_not_typed)
    return root


def _not_typed() -> None:
    """Stand in for a command in the list of all of them."""
