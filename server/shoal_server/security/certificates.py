"""The certificates in PEM files: what is wrong with them is found before a handshake does."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shoal_server.security.material import Contents, Material, TlsFiles, UnusableMaterial, content_of, read
from shoal_server.security.validity import Validity, moment
from shoal_server.transport.peer_certificate import identity_in, subject_of

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_LEAST_RSA_BITS: Final = 2048


def read_material(files: TlsFiles, now_epoch_s: float) -> Material:
    """Return what the files hold, good for handshakes now.

    Raises:
        UnusableMaterial: a file is missing, is not what it should be, does not fit the others, or is not valid now.
    """
    return checked(files, read(files), now_epoch_s)


def certificates_of(path: Path) -> Sequence[x509.Certificate]:
    """Read a file of certificates.

    Raises:
        UnusableMaterial: it cannot be read, or is something else.
    """
    return _certificates(path, content_of(path))


def certificates_in(path: Path) -> bytes:
    """Return the bytes of a file of certificates.

    Raises:
        UnusableMaterial: it cannot be read, or holds something else.
    """
    content = content_of(path)
    _certificates(path, content)
    return content


def checked(files: TlsFiles, contents: Contents, now_epoch_s: float) -> Material:
    """Return the material that the bytes are, good for handshakes now.

    Raises:
        UnusableMaterial: they are not what they should be, do not fit each other, or are not valid now.
    """
    tls = contents.tls
    chain = _certificates(files.certificate, tls.certificate)
    _check_chain(files.certificate, chain)
    _check_key(files, chain[0], tls.key)
    validities = [_validity(files.certificate, one) for one in chain]
    if files.client_ca is not None:
        authorities = _certificates(files.client_ca, tls.client_ca)
        for authority in authorities:
            _check_authority(files.client_ca, authority)
        # Callers get in as long as one of their CAs is valid; an old one beside its successor is no fault.
        begun = [one for one in authorities if _epoch_s(one.not_valid_before_utc) <= now_epoch_s] or authorities
        validities.append(_validity(files.client_ca, max(begun, key=lambda one: one.not_valid_after_utc)))
    for validity in validities:
        problem = validity.problem(now_epoch_s)
        if problem:
            raise UnusableMaterial(problem)
    return Material(tls, contents.digest, _about(chain[0]), tuple(validities))


def _certificates(path: Path, content: bytes) -> Sequence[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        held = "a private key" if b"PRIVATE KEY-----" in content else "nothing" if not content.strip() else "no PEM"
        raise UnusableMaterial(f"{path} has no certificate: wanted BEGIN CERTIFICATE, it holds {held}")
    try:
        found = x509.load_pem_x509_certificates(content)
        for certificate in found:
            certificate.extensions  # noqa: B018 - they are parsed only when they are asked for
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise UnusableMaterial(f"{path} holds a certificate that cannot be understood: {error}") from error
    if content.count(b"-----BEGIN CERTIFICATE-----") != len(found):
        raise UnusableMaterial(f"{path} is cut off within a certificate")
    return found


def _check_chain(path: Path, chain: Sequence[x509.Certificate]) -> None:
    """Look that each certificate is issued by the next; the last one's issuer is for the callers to know."""
    for number, (certificate, issuer) in enumerate(pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except Exception as error:
            raise UnusableMaterial(
                f"{path}: certificate {number} ({_name(certificate)}) is not issued by the next one "
                f"({_name(issuer)}); wanted the server's own first, then each one's issuer"
            ) from error


def _check_authority(path: Path, certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return  # version 1 certificates have none, and old roots are such
    if not constraints.ca:
        raise UnusableMaterial(
            f"{path} holds the certificate of {_name(certificate)}, which is no CA; wanted that of its issuer"
        )


def _check_key(files: TlsFiles, certificate: x509.Certificate, content: bytes) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise UnusableMaterial(f"{files.key} is encrypted; wanted the key without a passphrase") from None
    except Exception as error:
        # ValueError, UnsupportedAlgorithm and more: whatever is in the file is no key that we can use.
        held = "a certificate" if b"BEGIN CERTIFICATE" in content else "nothing" if not content.strip() else "no such"
        raise UnusableMaterial(f"{files.key} has no private key in PEM: it holds {held}") from error
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise UnusableMaterial(f"{files.key} has an RSA key of {key.key_size} bits; wanted {_LEAST_RSA_BITS}")
    elif not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES)):
        raise UnusableMaterial(f"{files.key} has a key of a kind that is not for TLS here; wanted RSA or EC P-256")
    if key.public_key() != certificate.public_key():
        raise UnusableMaterial(f"the key in {files.key} is not that of the certificate in {files.certificate}")


def _about(certificate: x509.Certificate) -> str:
    ends = moment(_epoch_s(certificate.not_valid_after_utc))
    return f"{_name(certificate)}, serial {certificate.serial_number:x}, valid until {ends}"


def _name(certificate: x509.Certificate) -> str:
    return identity_in(certificate) or subject_of(certificate) or f"serial {certificate.serial_number:x}"


def _validity(path: Path, certificate: x509.Certificate) -> Validity:
    begins_s, ends_s = _epoch_s(certificate.not_valid_before_utc), _epoch_s(certificate.not_valid_after_utc)
    return Validity(f"the certificate of {_name(certificate)} in {path}", begins_s, ends_s)


def _epoch_s(instant: datetime) -> float:
    return instant.timestamp()
