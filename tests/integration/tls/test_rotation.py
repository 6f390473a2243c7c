"""Certificates and CAs replaced while callers call."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_server.security import renewer
from shoal_testing.certificates import LOCAL, Authority
from shoal_testing.rotation import Rotation
from shoal_testing.triton import eventually
from shoal_testing.trusted import TrustedServer, infers, trusted_server

CALLERS = 3
AGE_S = 0.5
BUSY_S = 3.0  # what a busy machine takes for a handshake and a call


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrustedServer]:
    monkeypatch.setattr(renewer, "LOOK_EVERY_S", 0.2)  # in place of a second, as each waits for several looks
    with trusted_server(tmp_path, max_connection_age_s=AGE_S) as server:
        yield server


def test_certificates_and_cas_rotate_under_load_without_a_failed_call(served: TrustedServer) -> None:
    rotation = Rotation(served, [served.authority, *(Authority(f"CA {number}") for number in (1, 2, 3))])
    over = threading.Event()
    with ThreadPoolExecutor(CALLERS) as callers:
        calling = [callers.submit(rotation.call_until, over) for _ in range(CALLERS)]
        try:
            for number in range(1, len(rotation.authorities)):
                rotation.rotate(number)
        finally:
            over.set()
        for caller in calling:
            caller.result()
    assert rotation.outcomes.keys() == {"OK"}, rotation.outcomes
    assert rotation.outcomes["OK"] > 100


def test_who_has_a_certificate_of_a_withdrawn_ca_is_out_once_the_connection_has_aged(served: TrustedServer) -> None:
    rotation = Rotation(served, [served.authority, Authority("CA 1"), Authority("CA 2")])
    with rotation.caller(0) as old:
        assert infers(old) == "OK"
        rotation.rotate(1)
        assert infers(old) == "OK", "its CA is still in the bundle"
        rotation.rotate(2)
        began_s = monotonic()
        assert eventually(lambda: infers(old), "UNAVAILABLE") == "UNAVAILABLE"
        assert monotonic() - began_s < AGE_S + BUSY_S, "nothing was under way that would have had the grace"


def test_an_unusable_certificate_is_refused_and_the_old_one_serves_on(
    served: TrustedServer, caplog: pytest.LogCaptureFixture
) -> None:
    served.files.joinpath("server.pem").write_bytes(Authority("other").issue(*LOCAL).certificate)
    assert eventually(lambda: "the certificate in use is kept" in caplog.text, wanted=True)
    assert "is not that of the certificate in" in caplog.text
    with served.caller(served.authority.issue("spiffe://test.example/caller")) as caller:
        assert infers(caller) == "OK"


def test_a_certificate_that_the_transport_cannot_use_is_refused_in_a_line_and_the_old_one_serves_on(
    served: TrustedServer, caplog: pytest.LogCaptureFixture
) -> None:
    if served.running.server.transport_name != "native":
        pytest.skip("grpcio takes keys of P-521")
    served.authority.issue(*LOCAL, curve=ec.SECP521R1).write(served.files, "server")
    assert eventually(lambda: "the certificate in use is kept" in caplog.text, wanted=True)
    assert "certificate and key are refused" in caplog.text
    assert not [record for record in caplog.records if record.exc_info]
    with served.caller(served.authority.issue("spiffe://test.example/caller")) as caller:
        assert infers(caller) == "OK"
