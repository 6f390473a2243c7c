"""`shoal`, also as `python -m shoal_server`."""

import os
import sys

from shoal_server.cli.root import run

# gRPC's core reads it when it is imported. It writes lines to standard error for handshakes that fail and for server
# names that it does not know, so that whoever reaches the port could fill a disk; what we have to say, we log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - a library's setting, and none of ours


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
