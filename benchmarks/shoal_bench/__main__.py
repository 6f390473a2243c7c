"""`python -m shoal_bench`: measure the server against a bare echo that carries the same bytes."""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from shoal_bench.echo_ratio import Options, measure
from shoal_bench.record import machine
from shoal_bench.report import verdict

_TARGET: Final = 0.6


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench", description=__doc__)
    parser.add_argument("--in-flight", type=int, default=64, metavar="N", help="calls under way at once (default 64)")
    parser.add_argument("--calls", type=int, default=6000, metavar="N", help="calls per round and side (default 6000)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds, the sides in turn (default 7)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    options = Options(given.in_flight, given.calls, given.rounds)
    rounds = asyncio.run(measure(options, progress=_say))
    _say(verdict(rounds, _TARGET))
    if given.record:
        record = {"options": asdict(options), "machine": machine(), "rounds": [asdict(one) for one in rounds]}
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
