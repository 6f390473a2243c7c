"""Thousands who mean harm: the server's memory is bounded, and others are served."""

import resource
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing import models, server
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.http2 import PREFACE, RawHttp2, grpc_message
from shoal_testing.process import ServerProcess, server_process
from shoal_testing.witness import Witness, witness

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(why_not_native()), reason=str(why_not_native()))]

HALF_OPEN = 10_000
HALF_OPEN_S = 12.0  # the server waits ten seconds for a hello
SLOW = 2000
SLOW_S = 30.0
SLOW_MESSAGE_BYTES = 4 << 20
RESETTING = 20
RESETS_S = 20.0
RESETS_AT_ONCE = 200

CONNECTION_BYTES = 32 << 10
"""What a connection may cost in the server's process."""
BASE_BYTES = 128 << 20
"""What the server may need beside: allocators and ONNX Runtime do not give everything back."""
WAVES = 4
LAST_WAVE_BYTES = 32 << 20
"""By how much memory may still rise in the last wave. The allocator keeps what it once had, and what it keeps is in
pieces; so each wave of 10,000 adds about half of what the one before did. A leak would add the same each time."""
SERVED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Victim:
    """A server that somebody calls all the while."""

    process: ServerProcess
    address: str
    bystander: Witness
    resident_bytes: int

    def grown(self) -> int:
        """Return by how much its memory has exceeded what it had at first, at the most."""
        return self.process.resident_bytes(peak=True) - self.resident_bytes

    def tell(self, what: str) -> None:
        """Write down how it went, and see that it went well."""
        peak, now = self.grown() / 2**20, (self.process.resident_bytes() - self.resident_bytes) / 2**20
        base = self.resident_bytes / 2**20
        sys.stdout.write(
            f"{what}: {base:.0f} MiB at first, {peak:+.1f} at the most, {now:+.1f} after; {self.bystander}\n"
        )
        assert self.bystander.failures == []
        assert max(self.bystander.took_s) < SERVED_WITHIN_S


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Victim]:
    monkeypatch.setattr(server, "transport", "native")
    models.save(tmp_path / "models", "pair", models.identity("FP32", ["N", 2]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with server_process("models", folder=tmp_path) as process:
            address = process.ready_address()
            with witness(address, "pair") as bystander:
                while len(bystander.took_s) < 100:
                    threading.Event().wait(0.05)
                process.forget_peak()
                yield Victim(process, address, bystander, process.resident_bytes())
            assert [line for line in process.errors if " ERROR " in line or "Traceback" in line] == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_half_open_connections_are_hung_up_on_and_cost_little(victim: Victim) -> None:
    """As many as there are file descriptors for, ten thousand at most; and again, until that costs nothing more."""
    count = min(HALF_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    grown = []
    for wave in range(1, WAVES + 1):
        half_open(victim.address, count)
        victim.tell(f"wave {wave} of {count} half-open connections")
        grown.append(victim.grown())
    assert grown[-1] < BASE_BYTES + count * CONNECTION_BYTES
    assert grown[-1] - grown[-2] < LAST_WAVE_BYTES, grown


def half_open(address: str, count: int) -> None:
    """Say nothing, half a hello or a whole one on so many connections, and wait until the server has had enough."""
    host, _colon, port = address.rpartition(":")
    hellos = (b"", PREFACE[:10], PREFACE)
    with ExitStack() as stack:
        opened = []
        for number in range(count):
            one = stack.enter_context(socket.create_connection((host, int(port)), 10))
            with suppress(ConnectionError):
                one.sendall(hellos[number % len(hellos)])
            opened.append(one)
        threading.Event().wait(HALF_OPEN_S)
        silent = [one for number, one in enumerate(opened) if hellos[number % len(hellos)] != PREFACE]
        assert all(hung_up(one) for one in silent), "who does not finish a hello"


def hung_up(one: socket.socket) -> bool:
    """Return whether the server has ended a connection."""
    one.settimeout(0.0)
    try:
        while one.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def test_two_thousand_who_send_a_byte_a_second_hold_no_more_than_they_have_sent(victim: Victim) -> None:
    message = request_of("pair", x=np.zeros((SLOW_MESSAGE_BYTES // 8, 2), np.float32)).SerializeToString()
    data = grpc_message(message)
    with ExitStack() as stack:
        slow = [stack.enter_context(RawHttp2(victim.address)) for _ in range(SLOW)]
        streams = [one.begin(INFER) for one in slow]
        began_s = monotonic()
        for second in range(int(SLOW_S)):
            for one, stream in zip(slow, streams, strict=True):
                one.write(stream, data[second : second + 1])
            threading.Event().wait(max(began_s + second + 1 - monotonic(), 0.0))
        with Caller(victim.address) as quick:
            assert quick.call(message).status == "OK"
        held = victim.grown()
    victim.tell(f"{SLOW} senders of a byte a second, of {SLOW_MESSAGE_BYTES >> 20} MiB each")
    assert held < BASE_BYTES + 8 * SLOW_MESSAGE_BYTES + SLOW * CONNECTION_BYTES, "of 8 GB that were announced"


def test_who_resets_what_he_begins_again_and_again_is_hung_up_on_and_leaves_nothing(victim: Victim) -> None:
    message = request_of("pair", x=np.ones((1, 2), np.float32)).SerializeToString()
    ends_s = monotonic() + RESETS_S
    counts = [0, 0]

    def flood() -> None:
        while monotonic() < ends_s:
            with RawHttp2(victim.address) as foe:
                with suppress(ConnectionError):
                    while monotonic() < ends_s:
                        calls = [foe.whole_call(INFER, message, leave=True) for _ in range(RESETS_AT_ONCE)]
                        foe.send(b"".join(calls))
                        counts[0] += len(calls)
                counts[1] += 1

    foes = [threading.Thread(target=flood) for _ in range(RESETTING)]
    for foe in foes:
        foe.start()
    for foe in foes:
        foe.join()
    victim.tell(f"{counts[0]} calls reset at once on {counts[1]} connections")
    assert counts[1] > RESETTING, "they are hung up on"
    assert victim.grown() < BASE_BYTES
