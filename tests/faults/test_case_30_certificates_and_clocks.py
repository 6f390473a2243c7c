"""Case 30: wrong certificates are refused without a flood, and a wall clock that jumps changes nothing."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from shoal_server.clock import MonotonicClock
from shoal_testing import models
from shoal_testing.caller import Caller, request_of
from shoal_testing.certificates import CALLER, LOCAL, Authority, self_signed
from shoal_testing.gated import gated
from shoal_testing.process import server_process
from shoal_testing.trusted import TrustedServer, credentials, infers, trusted_server

ROW = np.array([[1, 2]], np.float32)
STRANGERS = 50
HOUR_S = 3600.0


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
