"""Certificates of every kind for tests, right and wrong ones, made anew each time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADMIN: Final = "spiffe://test.example/admin"
CALLER: Final = "spiffe://test.example/caller"
LOCAL: Final = ("localhost", "127.0.0.1", "::1")

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, what lies between it and the CA, and its key; PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write NAME.pem and NAME.key; return both paths."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


class Authority:
    """A CA. ``parent`` makes it an intermediate one, whose own certificate goes along with those that it issues."""

    def __init__(self, name: str = "test CA", parent: "Authority | None" = None, now: datetime | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, signer = (parent._name, parent._key) if parent else (self._name, self._key)  # noqa: SLF001 - its own kind
        now = now or datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(issuer)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 100 * _DAY)
            .not_valid_after(now + 100 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self._chain = self.certificate if parent else b""

    def issue(
        self,
        *names: str,
        subject: str = "",
        begins: timedelta = -_DAY,
        ends: timedelta = 60 * _DAY,
        now: datetime | None = None,
        curve: type[ec.EllipticCurve] = ec.SECP256R1,
    ) -> Pair:
        """Return a certificate for URIs, addresses and DNS names; ``begins`` and ``ends`` count from ``now``."""
        key = ec.generate_private_key(curve())
        now = now or datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            # Without a subject the names are all that there is, and have to be critical (RFC 5280, 4.2.1.6).
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=not subject
            )
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return Pair(certificate + self._chain, _pem(key))


def self_signed(*names: str) -> Pair:
    """Return a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody's")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
