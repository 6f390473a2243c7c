"""Client and real server, by mTLS from files that are renewed on both sides while calls go on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shoal_client import Client, ConfigurationError, RetryOptions, Tls, Unavailable
from shoal_testing.certificates import CALLER, Authority, Pair
from shoal_testing.rotation import Rotation
from shoal_testing.trusted import trusted_server

ROW = np.array([[1.0, 2.0]], np.float32)
PATIENT = RetryOptions(max_attempts=20, first_delay_s=0.05, max_delay_s=0.1, budget=100)


def give(folder: Path, pair: Pair, *trusted: Authority) -> Tls:
    """Write a client's files, each at once; return what reads them."""
    contents = {
        "ca.pem": b"".join(one.certificate for one in trusted),
        "mine.pem": pair.certificate,
        "mine.key": pair.key,
    }
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").rename(folder / name)
    return Tls(folder / "ca.pem", folder / "mine.pem", folder / "mine.key", check_every_s=0.05)


def test_server_and_client_change_their_authorities_without_a_failed_call(tmp_path: Path) -> None:
    with trusted_server(tmp_path, max_connection_age_s=0.5) as served:
        authorities = [served.authority, Authority("CA 1"), Authority("CA 2")]
        rotation = Rotation(served, authorities)
        files = tmp_path / "client"
        tls = give(files, authorities[0].issue(CALLER), *authorities)
        over, calls = threading.Event(), 0
        with Client(served.running.address, tls=tls, retry=PATIENT) as client:

            def call() -> int:
                done = 0
                while not over.is_set():
                    assert client.infer("m", {"x": ROW})["y"].tolist() == ROW.tolist()
                    done += 1
                return done

            with ThreadPoolExecutor(1) as pool:
                calling = pool.submit(call)
                try:
                    for number in (1, 2):
                        rotation.rotate(number)
                        give(files, authorities[number].issue(CALLER), *authorities)
                finally:
                    over.set()
                calls = calling.result()
            # Of what the server trusts now, the client's first certificate is none: it calls with a later one.
            assert client.infer("m", {"x": ROW})["y"].tolist() == ROW.tolist()
        with (
            Client(
                served.running.address, tls=give(files, authorities[0].issue(CALLER), *authorities), retry=None
            ) as late,
            pytest.raises(Unavailable),
        ):
            late.infer("m", {"x": ROW})
    assert calls > 10


def test_a_caller_without_a_certificate_or_with_anothers_is_told_so_by_the_real_server(tmp_path: Path) -> None:
    with trusted_server(tmp_path) as served:
        stranger = Authority("stranger")
        ours = served.authority.certificate
        for tls in (Tls(ours), give(tmp_path / "client", stranger.issue(CALLER), served.authority)):
            with Client(served.running.address, tls=tls, retry=None) as client, pytest.raises(Unavailable):
                client.infer("m", {"x": ROW})
        with (
            Client(served.running.address, tls=Tls(stranger.certificate), retry=None) as client,
            pytest.raises(Unavailable, match=r"(?i)certificate|handshake|ssl"),
        ):
            client.infer("m", {"x": ROW})


def test_a_renewed_certificate_whose_key_is_not_its_own_is_passed_over(tmp_path: Path) -> None:
    with trusted_server(tmp_path) as served:
        tls = give(tmp_path / "client", served.authority.issue(CALLER), served.authority)
        with Client(served.running.address, tls=tls) as client:
            client.infer("m", {"x": ROW})
            (tmp_path / "client" / "mine.key").write_bytes(served.authority.issue(CALLER).key)
            with pytest.raises(ConfigurationError, match="do not fit together"):
                client.renew_tls()
            assert client.infer("m", {"x": ROW})["y"].tolist() == ROW.tolist()
