"""Certificates from files or bytes, and whether the files have changed."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_client.errors import ConfigurationError

Source = Path | str | bytes
"""A file's path, or the content of a PEM file as bytes."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Tls:
    """How servers are recognised, and how this client shows who it is.

    Attributes:
        ca: PEM certificates of the authorities that are trusted; None trusts those of the RPC library.
        certificate: the client's own PEM certificate and those between it and its authority, for mTLS.
        key: the PEM private key of ``certificate``, without a passphrase.
        server_name: the name that the server's certificate must have, if it is not that of the target.
        check_every_s: how often files are looked at for a change, in seconds. A change opens new connections; calls
            that are under way end on the old ones. Files that do not fit together, as in the middle of a renewal, are
            passed over until they do.
    """

    ca: Source | None = None
    certificate: Source | None = None
    key: Source | None = None
    server_name: str = ""
    check_every_s: float = 10.0

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("a certificate and its key are given together")
        if self.check_every_s <= 0:
            raise ConfigurationError(f"check_every_s is above 0, got {self.check_every_s}")

    @property
    def may_change(self) -> bool:
        """Whether any of it is a file."""
        return any(isinstance(source, str | Path) for source in (self.ca, self.certificate, self.key))


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held at one moment. Equal materials make equal connections."""

    ca: bytes | None
    certificate: bytes | None
    key: bytes | None

    def __repr__(self) -> str:  # never the key
        return f"Material(ca={self.ca is not None}, certificate={self.certificate is not None})"


def read_material(tls: Tls, read: Callable[[Path], bytes] = Path.read_bytes) -> Material:
    """Read and check what a client's TLS needs; blocks for as long as the files take.

    Raises:
        ConfigurationError: a file cannot be read, is no PEM, or key and certificate do not belong together.
    """
    material = Material(
        _pem(tls.ca, "ca", _CERTIFICATE, read),
        _pem(tls.certificate, "certificate", _CERTIFICATE, read),
        _pem(tls.key, "key", _KEY, read),
    )
    if material.ca is not None:
        _check_ca(material.ca, _name(tls.ca))
    if isinstance(tls.certificate, str | Path) and isinstance(tls.key, str | Path):
        _check_pair(Path(tls.certificate), Path(tls.key))
    return material


def _pem(source: Source | None, what: str, begins: bytes, read: Callable[[Path], bytes]) -> bytes | None:
    if source is None:
        return None
    try:
        content = source if isinstance(source, bytes) else read(Path(source))
    except OSError as error:
        raise ConfigurationError(f"tls.{what}: {source!s} cannot be read: {error.strerror or error}") from error
    if begins not in content:
        kind = "certificate" if begins == _CERTIFICATE else "private key"
        raise ConfigurationError(f"tls.{what}: {_name(source)} holds no PEM {kind}")
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(f"tls.{what}: {_name(source)} has more than {_MOST_BYTES} bytes")
    return content


def _check_ca(content: bytes, name: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"tls.ca: {name} is no usable certificate: {error}") from error


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        # An empty passphrase, so that a key that has one fails instead of asking at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"tls: {certificate} and {key} do not fit together: {error}") from error


def _name(source: Source | None) -> str:
    return "the bytes given" if isinstance(source, bytes) else str(source)


def hint_of(details: str, *, has_tls: bool) -> str:
    """Return what may be wrong where no connection came about, in words to append to gRPC's; often there are none."""
    if "Tls handshake failed" in details:
        if "WRONG_VERSION_NUMBER" in details:
            return "; the server seems to speak without TLS"
        return "; the server's certificate is none that `ca` and `server_name` vouch for"
    if "TSI_DATA_CORRUPTED" in details or ("all backends failing" in details and "Socket closed" in details):
        if has_tls:
            return "; the server hung up: it may want a certificate of a CA that it trusts"
        return "; the server hung up: it may want TLS"
    return ""
