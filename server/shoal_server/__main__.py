"""`shoal`, also as `python -m shoal_server`."""

import os
import sys
from importlib import import_module
from typing import Final

from shoal_server.cli.failure import INTERRUPTED
from shoal_server.cli.standard_streams import outlive_readers

# gRPC's core reads it when it is imported. Left to itself it writes a line to standard error for each handshake that
# fails, so that whoever reaches the port could fill a disk. Its errors we want: that no file descriptor is left, say.
# Who only asks a server gets one line of ours, which says what to do, in the place of its three.
_ASKING: Final = frozenset({"drain", "health", "infer", "models"})
_LEAST: Final = "NONE" if _ASKING.intersection(sys.argv[1:2]) else "ERROR"
os.environ.setdefault("GRPC_VERBOSITY", _LEAST)  # noqa: TID251 - a library's setting, and none of ours


def main() -> None:
    """Run the command line and end the process with its exit code."""
    outlive_readers()
    try:
        # Here, as it takes a while in which Ctrl-C is no bug to be told by a traceback.
        exit_code: int = import_module("shoal_server.cli.root").run(sys.argv[1:])
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0].startswith("shoal"):
            raise  # a bug of ours
        # Without extras only the client is installed; the command is there all the same.
        sys.stderr.write(f"shoal: the command needs {error.name}: pip install 'CHECKOUT[server]'\n")
        exit_code = 1
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
