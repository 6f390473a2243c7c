"""`plot RECORD.json ...`: draw records as PNG files and one HTML page that needs nothing else."""

import argparse
from pathlib import Path

from shoal_bench.commands.output import say
from shoal_bench.figures import figures
from shoal_bench.record import RecordError, read


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("plot", help="draw records", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD.json", help="of run, capacity or peers")
    parser.add_argument("--out", type=Path, default=Path("plots"), metavar="FOLDER", help="where to (default plots)")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    records = {path.stem: read(path) for path in given.records}
    try:
        found = figures(records)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"a record cannot be plotted: {error}") from error
    if not found:
        raise RecordError("the records have nothing to plot: no call succeeded in them")
    try:
        from shoal_bench.drawing import write_all  # noqa: PLC0415 - only this needs matplotlib
    except ImportError as error:
        raise RecordError(f"plots need {error.name}: pip install 'CHECKOUT[bench]'") from error
    try:
        written = write_all(found, records, given.out)
    except OSError as error:
        raise RecordError(f"{given.out} cannot be written: {error.strerror}") from error
    for path in written:
        say(str(path))
    return 0
