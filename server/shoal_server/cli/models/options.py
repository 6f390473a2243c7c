"""Arguments and flags that the commands under `shoal models` share."""

import re
from typing import Annotated, Final

import typer

_NUMBER: Final = re.compile(r"[0-9]{1,19}")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as `shoal models` lists it.")]


def version_number(text: str) -> int:
    """Return the version that a text names by its number, which is an int64 in the protocol."""
    number = int(text) if _NUMBER.fullmatch(text) else 0
    if not 0 < number < 1 << 63:
        raise typer.BadParameter(f"a version is a whole number above 0, as `shoal models` lists them, got {text!r:.40}")
    return number


Version = Annotated[int, typer.Argument(metavar="VERSION", parser=version_number, help="The version's number.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line: what happens, then the result or the error.")
]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="VERSION",
        parser=version_number,
        help="Do it only if this version answers now, so that nobody else's change is undone.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Try it and change nothing: a version that is to be loaded is loaded and dropped."),
]
Key = Annotated[
    str,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="Asking again with the same key never does it twice. If none is given, one is made up and told if needed.",
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        "--timeout-s",
        metavar="SECONDS",
        min=0.001,
        help="How long to wait for the end; the operation itself goes on in the server.",
    ),
]

PATIENCE_S = 3600.0
"""The default of ``Patience``: a large model on a slow disk takes many minutes to load."""
