"""`python -m shoal_bench.native`: the native transport against grpcio, against its own echo, and against no server.

One run has all sides, each in a process of its own from beginning to end, and goes through them in turn, so that a
machine whose speed drifts drifts for all. What counts are the ratios within a round. The load comes from the crate's
own generator: one thread, which has a CPU of its own, as it stands for other machines; with ``--shared`` it takes the
servers' CPUs, too.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import shoal_native
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.apart import Division, confined, divided, our_cpus, shared
from shoal_bench.native_echo import METHOD
from shoal_bench.positive import count, quantity
from shoal_bench.process import SERVE, MeasuredProcess, running
from shoal_bench.record import machine
from shoal_bench.tiny import NAME, WIDTHS, write_tiny
from shoal_bench.wide import NAME as WIDE
from shoal_bench.wide import write_wide

_LARGE: Final = 1 << 20  # elements of four bytes
_ANSWER_BYTES: Final = 90  # about what the tiny model's answer has

Tls = tuple[bytes, bytes, bytes, str]


@dataclass(frozen=True, slots=True)
class Side:
    """What one server did in one round: calls per second, its CPU microseconds per call, latencies in microseconds."""

    rate: float
    cpu_us: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio, by the names of its sides, and what it is to be."""

    above: str
    below: str
    least: float


TARGETS: Final = (
    Target("native, 64 in flight", "grpcio, 64 in flight", 6.0),
    Target("native, 64 in flight", "echo, 64 in flight", 0.7),
    Target("native, 512 in flight", "echo, 512 in flight", 0.7),
    Target("mTLS echo, 64 in flight", "echo, 64 in flight", 0.85),
    Target("native, 4 MB", "grpcio, 4 MB", 1.0),
)
_ADDED_US: Final = 200.0


def _request(model: str, columns: int) -> bytes:
    row = np.random.default_rng(0).uniform(0, 16, (1, columns)).astype(np.float32)
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[row.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=[1, columns])
    return request.SerializeToString()


class Bench:
    """All sides, and one round over them."""

    def __init__(
        self, sides: Mapping[str, MeasuredProcess], models: Path, tls: Tls, seconds: float, division: Division
    ) -> None:
        self._division = division
        self._sides = sides
        self._tls = tls
        self._seconds = seconds
        self._small, self._large = _request(NAME, WIDTHS[0]), _request(WIDE, _LARGE)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = models / NAME / "1" / "model.onnx"
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def round(self) -> dict[str, Side]:
        """Measure every side once."""
        found = {"bare session.run": self._bare()}
        for in_flight in (64, 1, 512):
            for name in ("native", "grpcio", "echo", "mTLS echo"):
                if name == "mTLS echo" and in_flight != 64:  # noqa: PLR2004 - once is enough
                    continue
                connections = max(1, in_flight // 128)
                found[f"{name}, {in_flight} in flight"] = self._load(name, self._small, in_flight, connections)
        for name in ("native", "grpcio"):
            found[f"{name}, 4 MB"] = self._load(name, self._large, 4, 1)
        return found

    def _load(self, name: str, message: bytes, in_flight: int, connections: int) -> Side:
        process = self._sides[name]
        tls = self._tls if "TLS" in name else None
        given: dict[str, Any] = {"in_flight": in_flight, "connections": connections, "tls": tls}
        with confined(self._division.generator):
            shoal_native.load(process.address, METHOD, [message], duration_s=self._seconds / 4, **given)
            cpu_s = process.cpu_s()
            outcome = shoal_native.load(process.address, METHOD, [message], duration_s=self._seconds, **given)
        calls = sum(outcome["statuses"])
        if outcome["broken"] or outcome["statuses"][0] != calls:
            raise RuntimeError(f"{name}: not all calls ended well: {outcome['statuses']}, {outcome['broken']} broken")
        p50_ns, _, p99_ns, _ = outcome["percentiles_ns"]
        return Side(outcome["rate"], (process.cpu_s() - cpu_s) / calls * 1e6, p50_ns / 1e3, p99_ns / 1e3)

    def _bare(self) -> Side:
        feed = {"input": np.zeros((1, WIDTHS[0]), np.float32)}
        latencies_us = []
        ends_s = time.perf_counter() + self._seconds / 4
        while time.perf_counter() < ends_s:
            began_ns = time.perf_counter_ns()
            self._session.run(None, feed)
            latencies_us.append((time.perf_counter_ns() - began_ns) / 1e3)
        p50_us, p99_us = np.percentile(latencies_us, [50, 99])
        return Side(1e6 / float(np.mean(latencies_us)), float(np.mean(latencies_us)), float(p50_us), float(p99_us))


async def measure(rounds: int, seconds: float, division: Division) -> list[dict[str, Side]]:
    """Run the servers, and the rounds against them."""
    with tempfile.TemporaryDirectory() as scratch:
        models, secrets = Path(scratch) / "models", Path(scratch) / "secrets"
        write_tiny(models)
        write_wide(models, _LARGE)
        secrets.mkdir()
        tls = _certificates(secrets)
        serve = (*SERVE, str(models), "--address", "127.0.0.1:0", "--transport")
        echo = ("-m", "shoal_bench.native_echo", str(_ANSWER_BYTES))
        async with AsyncExitStack() as stack:
            with confined(division.servers):
                sides = {
                    name: await stack.enter_async_context(running(*arguments))
                    for name, arguments in (
                        ("native", (*serve, "native")),
                        ("grpcio", (*serve, "grpcio")),
                        ("echo", echo),
                        ("mTLS echo", (*echo, str(secrets))),
                    )
                }
            bench = Bench(sides, models, tls, seconds, division)
            found = []
            for number in range(1, rounds + 1):
                found.append(await asyncio.to_thread(bench.round))
                _say(f"round {number} of {rounds} is over")
            return found


def _certificates(folder: Path) -> Tls:
    """Write a CA and a server's certificate; return what a client needs."""
    ca_key, ca_name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]),
    )
    now = datetime.now(UTC)

    def issue(name: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> bytes:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key, is_ca=False)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca = issue(ca_name, ca_key, is_ca=True)
    for name, content in (("server.pem", leaf), ("server.key", secret), ("ca.pem", ca)):
        (folder / name).write_bytes(content)
    return ca, leaf, secret, "localhost"


def verdict(rounds: Sequence[Mapping[str, Side]]) -> str:
    """Return the medians of all sides over the rounds, and which of the targets are met."""
    lines = [f"{'':26}{'calls/s':>10}{'CPU us/call':>13}{'p50 us':>10}{'p99 us':>11}"]
    for name in rounds[0]:
        sides = [one[name] for one in rounds]
        lines.append(
            f"{name:26}{median(s.rate for s in sides):10.0f}{median(s.cpu_us for s in sides):13.1f}"
            f"{median(s.p50_us for s in sides):10.0f}{median(s.p99_us for s in sides):11.0f}"
        )
    for target in TARGETS:
        ratios = [one[target.above].rate / one[target.below].rate for one in rounds]
        met = "met" if median(ratios) >= target.least else "MISSED"
        lines.append(
            f"{target.above} / {target.below}: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}; "
            f"target >= {target.least:.2f}: {met}"
        )
    added_us = median(one["native, 1 in flight"].p50_us - one["bare session.run"].p50_us for one in rounds)
    met = "met" if added_us <= _ADDED_US else "MISSED"
    lines.append(f"p50 of one call in flight above bare session.run: {added_us:.0f} us; target <= 200: {met}")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.native", description=__doc__)
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="rounds, all sides in turn (default 5)")
    parser.add_argument("--seconds", type=quantity, default=2.0, metavar="S", help="per side and round (default 2)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    parser.add_argument("--shared", action="store_true", help="let the generator use the servers' CPUs")
    given = parser.parse_args()
    division = shared(our_cpus()) if given.shared else divided(our_cpus())
    rounds = asyncio.run(measure(given.rounds, given.seconds, division))
    _say(verdict(rounds))
    if given.record:
        sides = [{name: asdict(side) for name, side in one.items()} for one in rounds]
        options = {"rounds": given.rounds, "seconds": given.seconds, "division": asdict(division)}
        record = {"options": options, "machine": machine(), "rounds": sides}
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
