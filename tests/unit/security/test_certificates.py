"""What is wrong with certificates and keys, by their bytes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shoal_server.security.certificates import checked
from shoal_server.security.material import Contents, Material, TlsFiles, UnusableMaterial
from shoal_server.transport.port import TlsMaterial
from shoal_testing.certificates import LOCAL, Authority

FILES = TlsFiles(Path("server.pem"), Path("server.key"), Path("ca.pem"))
NOW = datetime.now(UTC).timestamp()
DAY_S = 86_400.0

CA = Authority()
INTERMEDIATE = Authority("between", parent=CA)
SERVER = CA.issue(*LOCAL)
OTHER = CA.issue(*LOCAL)
BEHIND = INTERMEDIATE.issue(*LOCAL)


def check(
    certificate: bytes = SERVER.certificate, key: bytes = SERVER.key, ca: bytes = CA.certificate, now: float = NOW
) -> Material:
    return checked(FILES, Contents(TlsMaterial(certificate, key, ca), "digest"), now)


def pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b""
) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_what_fits_together_is_used_and_tells_whose_it_is_and_how_long_it_is_valid() -> None:
    material = check()
    assert material.tls == TlsMaterial(SERVER.certificate, SERVER.key, CA.certificate)
    assert material.about.startswith("dns:localhost, serial ")
    assert [round((one.ends_s - NOW) / DAY_S) for one in material.validities] == [60, 100]


def test_a_chain_is_used_with_what_lies_between() -> None:
    assert len(check(BEHIND.certificate, BEHIND.key).validities) == 3


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "words"),
    [
        (b"", SERVER.key, CA.certificate, "server.pem has no certificate: wanted BEGIN CERTIFICATE, it holds nothing"),
        (b"hello", SERVER.key, CA.certificate, "server.pem has no certificate: wanted BEGIN CERTIFICATE, it holds no"),
        (SERVER.key, SERVER.key, CA.certificate, "server.pem has no certificate.* it holds a private key"),
        (SERVER.certificate[:-80], SERVER.key, CA.certificate, "server.pem .*(cannot be understood|is cut off)"),
        (BEHIND.certificate[:-80], BEHIND.key, CA.certificate, "server.pem .*(cannot be understood|is cut off)"),
        (SERVER.certificate.replace(b"M", b"N"), SERVER.key, CA.certificate, "server.pem .*cannot be understood"),
        (SERVER.certificate, b"", CA.certificate, "server.key has no private key in PEM: it holds nothing"),
        (SERVER.certificate, SERVER.certificate, CA.certificate, "server.key has no private key .*a certificate"),
        (SERVER.certificate, SERVER.key[:-40], CA.certificate, "server.key has no private key"),
        (SERVER.certificate, OTHER.key, CA.certificate, "the key in server.key is not that of .* server.pem"),
        (SERVER.certificate, SERVER.key, b"", "ca.pem has no certificate: .* it holds nothing"),
        (SERVER.certificate, SERVER.key, b"junk", "ca.pem has no certificate"),
        (SERVER.certificate, SERVER.key, CA.certificate + OTHER.certificate, "ca.pem holds the certificate of .*no CA"),
        (SERVER.certificate + OTHER.certificate, SERVER.key, CA.certificate, "certificate 1 .* is not issued by the"),
        (INTERMEDIATE.certificate + SERVER.certificate, SERVER.key, CA.certificate, "is not issued by the next"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_file_and_the_reason(
    certificate: bytes, key: bytes, ca: bytes, words: str
) -> None:
    with pytest.raises(UnusableMaterial, match=words):
        check(certificate, key, ca)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "server.key is encrypted"),
        (pem(rsa.generate_private_key(65537, 1024)), "an RSA key of 1024 bits; wanted 2048"),  # noqa: S505 - that is the point
        (pem(ed25519.Ed25519PrivateKey.generate()), "a kind that is not for TLS here"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "a kind that is not for TLS here"),
    ],
)
def test_a_key_that_gives_no_handshake_is_told_before_there_is_one(key: bytes, words: str) -> None:
    with pytest.raises(UnusableMaterial, match=words):
        check(key=key)


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [(-2, -1, "dns:localhost in server.pem has expired on"), (1, 2, "dns:localhost in server.pem is valid only from")],
)
def test_a_certificate_out_of_its_time_is_told_with_both_times(begins: int, ends: int, words: str) -> None:
    pair = CA.issue(*LOCAL, begins=timedelta(days=begins), ends=timedelta(days=ends))
    with pytest.raises(UnusableMaterial, match=words):
        check(pair.certificate, pair.key)


def test_an_expired_certificate_between_server_and_ca_is_told_as_that() -> None:
    with pytest.raises(UnusableMaterial, match=r"the certificate of subject:CN=between in server.pem has expired"):
        check(*_early(), now=NOW + 101 * DAY_S)


def _early() -> tuple[bytes, bytes]:
    pair = INTERMEDIATE.issue(*LOCAL, ends=timedelta(days=200))
    return pair.certificate, pair.key


def test_an_old_ca_beside_its_successor_is_no_fault() -> None:
    later = Authority("successor", now=datetime.now(UTC) + timedelta(days=150))
    pair = CA.issue(*LOCAL, ends=timedelta(days=300))
    both = check(pair.certificate, pair.key, CA.certificate + later.certificate, NOW + 120 * DAY_S)
    assert "successor" in both.validities[-1].what
    with pytest.raises(UnusableMaterial, match=r"the certificate of subject:CN=test CA in ca.pem has expired"):
        check(pair.certificate, pair.key, CA.certificate, NOW + 120 * DAY_S)


def test_no_text_holds_the_key() -> None:
    assert SERVER.key.decode()[40:80] not in repr(check())
