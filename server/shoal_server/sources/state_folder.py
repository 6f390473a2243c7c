"""The folder that keeps what operators want, for a restarted server to serve the same."""

import fcntl
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_server.errors import LoadFailed, PreconditionFailed
from shoal_server.lifecycle.desired import Desired
from shoal_server.sources import state_text
from shoal_server.sources.tree import because

STATE_FOLDER: Final = ".shoal"
STATE_FILE: Final = "desired.json"

_LOCK_FILE: Final = "lock"


def default_state(models: Path) -> Path:
    """Return where the state of a server of these models is kept unless somewhere is named."""
    models = models.absolute()
    return (models.parent if models.is_file() else models) / STATE_FOLDER


class StateFolder:
    """Implements ``lifecycle.ports.StateStore``: one file, replaced whole. Blocking; one call at a time.

    The folder is made at the first write, and locked from then on, so that two servers never write the same.
    ``required`` says that it was named by the operator; then a change that it cannot take is not made.
    """

    def __init__(self, folder: Path, *, required: bool) -> None:
        self.required = required
        self._folder = folder
        self._lock: int | None = None

    def read(self) -> Mapping[str, Desired]:
        """Return what was written last, by model; nothing where nothing ever was.

        Raises:
            LoadFailed: it cannot be read or understood; the text says what to do.
        """
        path = self._folder / STATE_FILE
        try:
            return state_text.read(_text(path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            reason = because(error) if isinstance(error, OSError) else error
            raise LoadFailed(
                f"{path}, which says which versions operators want, cannot be used: {reason}. Put a good copy in its "
                f"place, or take it away to serve what the models' own configuration says"
            ) from error

    def prepare(self) -> None:
        """Look whether ``write`` would work, now.

        Raises:
            PreconditionFailed: it would not; the text says why.
        """
        try:
            self._own()
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(None, "permission denied")
        except OSError as error:
            raise self._refusal(error) from error

    def write(self, desired: Mapping[str, Desired]) -> None:
        """Put this in the place of what was written last; whatever happens, one of both is read afterwards.

        Raises:
            PreconditionFailed: it cannot be written, and what was written last stays.
        """
        path = self._folder / STATE_FILE
        fresh = path.with_suffix(".json.new")
        try:
            self._own()
            fresh.unlink(missing_ok=True)
            # A file of its own: what somebody else put there might be a pipe that never takes it, or lead elsewhere.
            with fresh.open("xb") as file:
                file.write(state_text.written(desired).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise self._refusal(error) from error
        # Only a power cut could take the new name from here on, and some file systems cannot be asked to write it.
        with suppress(OSError):
            _sync_folder(self._folder)

    def close(self) -> None:
        """Let another server write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _own(self) -> None:
        """Have the folder and its lock, which may have been taken away since.

        Raises:
            OSError: it cannot be made, or another server has it.
        """
        path = self._folder / _LOCK_FILE
        if self._lock is not None:
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._lock), path.stat()):
                    return
            self.close()
        # Not its parents: where the models' folder has gone, nothing is to come back in its place.
        self._folder.mkdir(exist_ok=True, parents=self.required)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise BlockingIOError(error.errno, "another server uses it") from error
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _refusal(self, error: OSError) -> PreconditionFailed:
        return PreconditionFailed(f"the state folder {self._folder.name} cannot be written: {because(error)}")


def _text(path: Path) -> str:
    # Without waiting: opening a pipe would wait for its writer, and the server would neither serve nor fail.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8 text from byte {error.start} on") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
