"""A CA of one's own, to try things with: it vouches for a server and for clients, and for nobody in production."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN: Final = "shoal.dev"
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

_SKEW: Final = timedelta(hours=1)  # clocks of other machines may be behind
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def spiffe_of(client: str) -> str:
    """Return the identity of a client by its name."""
    return f"spiffe://{TRUST_DOMAIN}/{client}"


def development_files(
    hosts: Sequence[str], clients: Sequence[str], days: int, now_epoch_s: float
) -> Mapping[str, bytes]:
    """Return the files of a new CA (ca), of a server with these names and addresses (server), and of each client.

    Each is NAME.pem and NAME.key, PEM, in the order in which they are best written: a key before its certificate.

    Raises:
        ValueError: a host is neither a DNS name nor an address; the text names it.
    """
    names = [_general(host) for host in dict.fromkeys((*LOCAL_HOSTS, *hosts))]
    now = datetime.fromtimestamp(now_epoch_s, UTC)
    times = (now - _SKEW, now + timedelta(days=days))
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _named("Shoal development CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), times)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(ca_key, hashes.SHA256())
    )

    def issue(subject: str, names: Sequence[x509.GeneralName], use: x509.ObjectIdentifier) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_named(subject), ca_name, key.public_key(), times)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return _pem(key), certificate.public_bytes(serialization.Encoding.PEM)

    files = {"ca.key": _pem(ca_key), "ca.pem": ca.public_bytes(serialization.Encoding.PEM)}
    files["server.key"], files["server.pem"] = issue("Shoal server", names, ExtendedKeyUsageOID.SERVER_AUTH)
    for client in clients:
        uri = [x509.UniformResourceIdentifier(spiffe_of(client))]
        files[f"{client}.key"], files[f"{client}.pem"] = issue(client, uri, ExtendedKeyUsageOID.CLIENT_AUTH)
    return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, times: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(times[0])
        .not_valid_after(times[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    if not host or not all(part.replace("-", "").isalnum() for part in host.removeprefix("*.").split(".")):
        raise ValueError(f"{host!r} is neither a DNS name nor an address")
    return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
