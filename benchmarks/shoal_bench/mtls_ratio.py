"""The tiny model's inferences per second over mTLS, over those without TLS: `python -m shoal_bench.mtls_ratio`.

Both servers run throughout, each in its own process; the rounds alternate, so each round's ratio stands for itself.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import grpc
import grpc.aio

from shoal_bench.echo_ratio import Options, Side, measure_side, question_for
from shoal_bench.positive import count
from shoal_bench.process import SERVE, running
from shoal_bench.record import machine
from shoal_bench.tiny import write_tiny

TARGET: Final = 0.85


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides of one round."""

    mtls: Side
    plaintext: Side

    @property
    def ratio(self) -> float:
        """The rate with mTLS over that without TLS."""
        return self.mtls.rate / self.plaintext.rate


async def measure(options: Options, server_flags: Sequence[str], progress: Callable[[str], None]) -> list[Round]:
    """Run the servers, and the rounds against them; ``progress`` is told of each round."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tiny(folder / "models")
        made = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shoal_server", "certs", "dev", str(folder)), stdout=asyncio.subprocess.DEVNULL
        )
        if await made.wait():
            raise RuntimeError("`shoal certs dev` failed")
        serve = (*SERVE, str(folder / "models"), "--address", "127.0.0.1:0", *server_flags)
        own = {"--tls-certificate": "server.pem", "--tls-key": "server.key", "--tls-client-ca": "ca.pem"}
        tls = [f"{flag}={folder / name}" for flag, name in own.items()]
        ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.pem", "caller.key", "caller.pem"))
        async with running(*serve, *tls) as secure, running(*serve) as plain:
            secure_channel = grpc.aio.secure_channel(secure.address, grpc.ssl_channel_credentials(ca, key, certificate))
            plain_channel = grpc.aio.insecure_channel(plain.address)
            question = await question_for(plain_channel)
            rounds = []
            for number in range(1, options.rounds + 1):
                rounds.append(
                    Round(
                        await measure_side(secure, secure_channel, question, options),
                        await measure_side(plain, plain_channel, question, options),
                    )
                )
                now = rounds[-1]
                progress(
                    f"round {number}: mTLS {now.mtls.rate:.0f}/s ({now.mtls.cpu_us:.0f} us CPU a call), plaintext "
                    f"{now.plaintext.rate:.0f}/s ({now.plaintext.cpu_us:.0f} us), ratio {now.ratio:.2f}"
                )
            await secure_channel.close()
            await plain_channel.close()
    return rounds


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.mtls_ratio", description=__doc__)
    parser.add_argument("--in-flight", type=count, default=64, metavar="N", help="calls under way at once (default 64)")
    parser.add_argument("--calls", type=count, default=4000, metavar="N", help="per round and side (default 4000)")
    parser.add_argument("--rounds", type=count, default=9, metavar="N", help="rounds, the sides in turn (default 9)")
    parser.add_argument("--transport", default="auto", help="the servers' transport (default auto)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    options = Options(given.in_flight, given.calls, given.rounds)
    rounds = asyncio.run(measure(options, ("--transport", given.transport), _say))
    ratios = [one.ratio for one in rounds]
    met = "met" if median(ratios) >= TARGET else "MISSED"
    _say(
        f"mTLS over plaintext: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} "
        f"rounds; target >= {TARGET:.2f}: {met}"
    )
    if given.record:
        record = {"options": asdict(options), "machine": machine(), "rounds": [asdict(one) for one in rounds]}
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
