"""`shoal`, also as `python -m shoal_server`."""

import sys

from shoal_server.cli.root import run


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
