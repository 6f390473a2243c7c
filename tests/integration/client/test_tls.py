"""TLS and mTLS with real certificates, from files and from bytes, and their renewal."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from shoal.inference import grpc_service_pb2 as pb
from shoal_client import AsyncClient, Client, ConfigurationError, RetryOptions, Tls, Unavailable
from shoal_client.tls import read_material
from shoal_testing.fake_server import ROW, Context, FakeServer, echo, echoing, serving

Run = Callable[[Coroutine[Any, Any, None]], None]

PATIENT = RetryOptions(max_attempts=20, first_delay_s=0.05, max_delay_s=0.1, budget=100)


class Authority:
    """A CA, a server certified by it, and clients."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.server = self.ca.issue_cert("127.0.0.1")
        self.client = self.ca.issue_cert("client.example")
        self.pem = self.ca.cert_pem.bytes()

    def configuration(self) -> Any:  # noqa: ANN401 - grpc's, which has no public name
        return grpc.ssl_server_certificate_configuration(
            [(self.server.private_key_pem.bytes(), self.server.cert_chain_pems[0].bytes())], self.pem
        )

    def credentials(self, *, mutual: bool = True) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.server.private_key_pem.bytes(), self.server.cert_chain_pems[0].bytes())],
            self.pem if mutual else None,
            require_client_auth=mutual,
        )

    def write(self, folder: Path) -> Tls:
        """Write a client's files, each at once."""
        for name, content in (
            ("ca.pem", self.pem),
            ("client.pem", self.client.cert_chain_pems[0].bytes()),
            ("client.key", self.client.private_key_pem.bytes()),
        ):
            (folder / f"{name}.new").write_bytes(content)
            (folder / f"{name}.new").rename(folder / name)
        return Tls(folder / "ca.pem", folder / "client.pem", str(folder / "client.key"), check_every_s=0.05)

    def tls(self) -> Tls:
        return Tls(self.pem, self.client.cert_chain_pems[0].bytes(), self.client.private_key_pem.bytes())


async def whoami(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
    """Answer with the caller's verified name as the version."""
    names = context.auth_context().get("x509_subject_alternative_name", [])
    return echo(request, names[0].decode() if names else "nobody")


def test_tls_recognises_the_server_and_nobody_else(run: Run) -> None:
    good, evil = Authority(), Authority()

    async def main() -> None:
        async with serving(FakeServer(ModelInfer=whoami), good.credentials(mutual=False)) as fake:
            async with AsyncClient(fake.address, tls=Tls(good.pem)) as client:
                assert (await client.infer("m", ROW)).model_version == "nobody"
            async with AsyncClient(fake.address, tls=Tls(evil.pem), retry=None) as client:
                with pytest.raises(Unavailable, match=r"Tls handshake failed.*; the server's certificate is none that"):
                    await client.infer("m", ROW)
            async with AsyncClient(fake.address, tls=Tls(good.pem, server_name="other.example"), retry=None) as client:
                with pytest.raises(Unavailable):
                    await client.infer("m", ROW)

    run(main())


def test_mtls_shows_who_calls_from_bytes_and_from_files(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def main() -> None:
        async with serving(FakeServer(ModelInfer=whoami), authority.credentials()) as fake:
            for tls in (authority.tls(), authority.write(tmp_path)):
                async with AsyncClient(fake.address, tls=tls) as client:
                    assert (await client.infer("m", ROW)).model_version == "client.example"
            async with AsyncClient(fake.address, tls=Tls(authority.pem), retry=None) as client:
                with pytest.raises(Unavailable, match="; the server hung up: it may want a certificate of a CA"):
                    await client.infer("m", ROW)
            async with AsyncClient(fake.address, retry=None) as client:
                with pytest.raises(Unavailable, match="; the server hung up: it may want TLS"):
                    await client.infer("m", ROW)
        fake = FakeServer(ModelInfer=whoami)
        async with serving(fake), AsyncClient(fake.address, tls=authority.tls(), retry=None) as client:
            with pytest.raises(Unavailable, match="; the server seems to speak without TLS"):
                await client.infer("m", ROW)

    run(main())


def test_a_server_and_its_client_change_their_authority_without_a_failed_call(run: Run, tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    serves = old

    def current() -> Any:  # noqa: ANN401 - grpc's, which has no public name
        return serves.configuration()

    async def main() -> None:
        nonlocal serves
        tls = old.write(tmp_path)
        dynamic = grpc.dynamic_ssl_server_credentials(old.configuration(), current, require_client_authentication=True)
        async with serving(FakeServer(ModelInfer=whoami), dynamic) as fake:
            async with AsyncClient(fake.address, tls=tls, retry=PATIENT) as client:
                await client.infer("m", ROW)
                serves = new
                # What is connected stays connected; the next connection has to be made with the new files.
                await client.infer("m", ROW)
                new.write(tmp_path)
                await client.renew_tls()
                results = await asyncio.gather(*[client.infer("m", ROW) for _ in range(20)])
                assert {result.model_version for result in results} == {"client.example"}
            async with AsyncClient(fake.address, tls=old.tls(), retry=None) as client:
                with pytest.raises(Unavailable):
                    await client.infer("m", ROW)

    run(main())


def test_files_that_change_are_found_without_being_asked_for(run: Run, tmp_path: Path) -> None:
    old, new = Authority(), Authority()

    async def main() -> None:
        tls = old.write(tmp_path)
        fake = FakeServer(ModelInfer=whoami)
        async with serving(fake, new.credentials()), AsyncClient(fake.address, tls=tls, retry=PATIENT) as client:
            waiting = asyncio.ensure_future(client.infer("m", ROW, timeout_s=15))
            new.write(tmp_path)
            result = await waiting
            assert result.model_version == "client.example"

    run(main())


def test_calls_under_way_end_on_the_old_connection(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def held(request: pb.ModelInferRequest, _context: Context) -> pb.ModelInferResponse:
            begun.set()
            await go_on.wait()
            return echo(request)

        tls = authority.write(tmp_path)
        fake = FakeServer(ModelInfer=held)
        async with serving(fake, authority.credentials()), AsyncClient(fake.address, tls=tls) as client:
            call = asyncio.ensure_future(client.infer("m", ROW))
            await begun.wait()
            authority.client = authority.ca.issue_cert("renewed.example")
            authority.write(tmp_path)
            await client.renew_tls()
            go_on.set()
            assert (await call)["x"].shape == (1, 2)
            assert (await client.infer("m", ROW))["x"].shape == (1, 2)

    run(main())


def test_files_that_do_not_fit_together_are_passed_over(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def main() -> None:
        tls = authority.write(tmp_path)
        fake = FakeServer(ModelInfer=whoami)
        async with serving(fake, authority.credentials()), AsyncClient(fake.address, tls=tls) as client:
            key = (tmp_path / "client.key").read_bytes()
            other = authority.ca.issue_cert("other.example").private_key_pem.bytes()
            for content, complaint in ((other, "do not fit together"), (b"", "holds no PEM private key")):
                (tmp_path / "client.key").write_bytes(content)
                with pytest.raises(ConfigurationError, match=complaint):
                    await client.renew_tls()
                assert (await client.infer("m", ROW)).model_version == "client.example"
            (tmp_path / "client.key").write_bytes(key)
            assert not await client.renew_tls()

    run(main())


def test_files_that_cannot_be_used_are_refused_when_the_client_is_opened(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    for tls, complaint in (
        (Tls(tmp_path / "none.pem"), "cannot be read: No such file"),
        (Tls(tmp_path), "cannot be read: Is a directory"),
        (Tls(b"no certificate"), "the bytes given holds no PEM certificate"),
        (Tls(tmp_path / "junk.pem"), "no usable certificate"),
    ):
        with pytest.raises(ConfigurationError, match=complaint), Client("localhost:1", tls=tls):
            pass


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    authority = Authority()
    tls = authority.write(tmp_path)
    (tmp_path / "client.key").write_bytes(
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBOBgkqhkiG9w0BBQ0wQTApBgkqhkiG\n"
        b"-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    with pytest.raises(ConfigurationError, match="do not fit together"):
        read_material(tls)


def test_what_is_kept_of_a_key_is_never_shown(tmp_path: Path) -> None:
    authority = Authority()
    material = read_material(authority.write(tmp_path))
    assert "PRIVATE" not in repr(material)


def test_a_plain_server_is_told_apart(run: Run) -> None:
    async def main() -> None:
        fake = FakeServer(ModelInfer=echoing)
        async with serving(fake), AsyncClient(fake.address, tls=Tls(Authority().pem), retry=None) as client:
            with pytest.raises(Unavailable):
                await client.infer("m", ROW)

    run(main())


class Heard(logging.Handler):
    """What a logger says, for a coroutine to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self._loop.call_soon_threadsafe(self._take, record.getMessage())

    async def wait_for(self, words: str) -> None:
        while not any(words in message for message in self.messages):
            self._news.clear()
            await self._news.wait()

    def _take(self, message: str) -> None:
        self.messages.append(message)
        self._news.set()


@contextmanager
def heard(name: str) -> Iterator[Heard]:
    logger, handler = logging.getLogger(name), Heard()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_files_that_cannot_be_used_are_told_once_and_found_again_when_they_can(run: Run, tmp_path: Path) -> None:
    old, new = Authority(), Authority()

    async def main() -> None:
        tls = old.write(tmp_path)
        fake = FakeServer(ModelInfer=whoami)
        async with serving(fake, new.credentials()), AsyncClient(fake.address, tls=tls, retry=PATIENT) as client:
            with heard("shoal_client") as log:
                (tmp_path / "client.key").write_bytes(b"half a file")
                await log.wait_for("the certificates in use are kept: tls.key")
                new.write(tmp_path)
                await log.wait_for("new certificates are in use")
            assert (await client.infer("m", ROW)).model_version == "client.example"
            assert len(set(log.messages)) == len(log.messages)

    run(main())
