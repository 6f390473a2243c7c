"""What a command's docstring says in its help."""

import inspect
from collections.abc import Callable


def help_of(command: Callable[..., object]) -> str:
    """Return the help of a command: its docstring, with the lines of its examples as they are."""
    # \b keeps the lines of a paragraph (click, "Preventing Rewrapping"; typer has inherited it).
    return inspect.cleandoc(command.__doc__ or "").replace("\nExample:\n", "\n\b\nExample:\n")
