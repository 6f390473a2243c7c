"""Case 30: wrong certificates are refused without a flood, and a wall clock that jumps changes nothing."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from shoal_server.clock import MonotonicClock
from shoal_testing import models, whole_models
from shoal_testing.caller import Caller, request_of
from shoal_testing.certificates import CALLER, LOCAL, Authority, self_signed
from shoal_testing.gated import gated
from shoal_testing.process import server_process
from shoal_testing.trusted import TrustedServer, credentials, infers, trusted_server
from shoal_testing.wall_clock import COMPILER, wall_clock

ROW = np.array([[1, 2]], np.float32)
STRANGERS = 50
HOUR_S = 3600.0
FOR_EVER = np.array(2**62, np.int64)
SOON_S = 12.0  # on a busy machine


def write(folder: Path, authority: Authority) -> dict[str, Path]:
    certificate, key = authority.issue(*LOCAL).write(folder, "server")
    client_ca = folder / "ca.pem"
    client_ca.write_bytes(authority.certificate)
    models.save(folder / "models", "m", models.identity())
    return {"certificate": certificate, "key": key, "client_ca": client_ca}


def test_strangers_are_refused_and_fill_no_log_and_callers_go_on(tmp_path: Path) -> None:
    authority = Authority()
    tls = write(tmp_path, authority)
    flags = [f"--tls-{name.replace('_', '-')}={path}" for name, path in tls.items()]
    strangers = [None, self_signed(CALLER), Authority("other").issue(CALLER)]
    strangers.append(authority.issue(CALLER, begins=timedelta(days=-2), ends=timedelta(days=-1)))
    with server_process("models", *flags, folder=tmp_path) as server:
        address = server.ready_address()
        with Caller(address, credentials(authority.certificate, authority.issue(CALLER))) as caller:
            assert infers(caller) == "OK"
            for number in range(STRANGERS):
                pair = strangers[number % len(strangers)]
                with Caller(address, credentials(authority.certificate, pair)) as stranger:
                    assert infers(stranger) == "UNAVAILABLE"
            assert infers(caller) == "OK"
        assert len(server.errors) < STRANGERS / 5, server.errors


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustedServer]:
    with trusted_server(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_wall_clock_that_jumps_expires_nobody_and_refuses_no_certificate(
    served: TrustedServer, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    with gated(served.running, "m") as gate, served.caller(served.authority.issue(CALLER)) as caller:
        request = request_of("m", x=ROW).SerializeToString()
        computing = caller.begin(request, timeout_s=None)
        gate.wait_for_run()
        waiting = caller.begin(request, timeout_s=None)
        real = MonotonicClock.epoch
        monkeypatch.setattr(MonotonicClock, "epoch", staticmethod(lambda: real() + jump_s))
        with served.caller(served.authority.issue(CALLER)) as newcomer:
            arriving = newcomer.begin(request)
            gate.open()
            assert [call.outcome().status for call in (computing, waiting, arriving)] == ["OK"] * 3


@pytest.mark.timeout(55)
@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="the jump is made by a C library of our own")
@pytest.mark.parametrize("jump_s", [int(HOUR_S), -int(HOUR_S)])
def test_a_process_whose_wall_clock_jumps_fires_no_timer_early_and_keeps_its_certificate(
    tmp_path: Path, jump_s: int
) -> None:
    """With a certificate to replace it that is not valid by the wrong clock, and is by the right one."""
    authority = Authority()
    tls = write(tmp_path, authority)
    models.save(tmp_path / "models", "endless", whole_models.endless())
    flags = [f"--tls-{name.replace('_', '-')}={path}" for name, path in tls.items()]
    trusted = credentials(authority.certificate, authority.issue(CALLER))
    limits = ("--batching-execution-limit-s", "2", "--runtime-slots", "2")
    half = timedelta(seconds=HOUR_S / 2)
    begins, ends = (-half, 2 * half) if jump_s < 0 else (-2 * half, half)
    with ExitStack() as stack:
        clock = stack.enter_context(wall_clock(tmp_path))
        serving = server_process("models", *limits, *flags, folder=tmp_path, variables=clock.variables)
        server = stack.enter_context(serving)
        address = server.ready_address()
        caller = stack.enter_context(Caller(address, trusted))
        assert infers(caller) == "OK"
        endless = request_of("endless", x=ROW, turns=FOR_EVER).SerializeToString()
        began_s = monotonic()
        given_up = caller.begin(endless, timeout_s=None)
        assert infers(caller) == "OK"  # of one connection, in order: the other is inside
        clock.move(jump_s)
        # What is seen of it comes after three looks, a second apart; meanwhile timers run.
        authority.issue(*LOCAL, begins=begins, ends=ends).write(tmp_path, "server")
        late_s = monotonic()
        late = caller.begin(request_of("endless", x=ROW, turns=FOR_EVER).SerializeToString(), timeout_s=1)
        assert late.outcome().status == "DEADLINE_EXCEEDED"
        assert 1 <= monotonic() - late_s < 1 + SOON_S
        assert given_up.outcome().status not in ("OK", "DEADLINE_EXCEEDED", "UNAVAILABLE")
        assert 2 <= monotonic() - began_s < 2 + SOON_S
        server.wait_for_error("the certificate in use is kept")
        assert infers(caller) == "OK"
        with Caller(address, trusted) as newcomer:
            assert infers(newcomer) == "OK"
        clock.move(0)
        server.wait_for_error("new handshakes use the certificate")
        with Caller(address, trusted) as newcomer:
            assert infers(newcomer) == "OK"
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
