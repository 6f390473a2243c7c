"""What a command says, and its exit code."""

import sys
from typing import Final

FAILED: Final = 1
INTERRUPTED: Final = 130


def say(text: str) -> None:
    """Print a line at once, so that progress is seen where the output is a pipe, too."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(message: str) -> int:
    """Print one line to standard error and return the exit code of a failure."""
    sys.stderr.write("shoal bench: " + " ".join(message.split()) + "\n")
    return FAILED
