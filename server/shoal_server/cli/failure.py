"""What a command says when it cannot do what it was asked."""

from typing import Final

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells say it


class Failure(Exception):
    """Ends the command; ``str()`` is one line for whoever typed it, ``exit_code`` is FAILED, MISUSED or INTERRUPTED."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
