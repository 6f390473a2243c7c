"""Certificates as people read them."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from shoal_server.security.validity import moment
from shoal_server.transport.peer_certificate import identity_in, subject_of


@dataclass(frozen=True, slots=True)
class Description:
    """One certificate: ``identity`` as `admin.identities` takes it, empty where it proves none."""

    identity: str
    names: tuple[str, ...]
    subject: str
    issuer: str
    validity: str
    is_authority: bool
    serial: str
    sha256: str


def described(certificate: x509.Certificate, now_epoch_s: float) -> Description:
    """Return what is in a certificate."""
    return Description(
        identity=identity_in(certificate),
        names=_names(certificate),
        subject=subject_of(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        validity=_validity(certificate, now_epoch_s),
        is_authority=_is_authority(certificate),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds = (
        ("URI:", x509.UniformResourceIdentifier),
        ("DNS:", x509.DNSName),
        ("email:", x509.RFC822Name),
    )
    found = [kind + value for kind, cls in kinds for value in names.get_values_for_type(cls)]
    return (*found, *(f"IP:{ip}" for ip in names.get_values_for_type(x509.IPAddress)))


def _validity(certificate: x509.Certificate, now_epoch_s: float) -> str:
    begins_s = certificate.not_valid_before_utc.timestamp()
    ends_s = certificate.not_valid_after_utc.timestamp()
    if now_epoch_s > ends_s:
        state = "EXPIRED"
    elif now_epoch_s < begins_s:
        state = "NOT YET VALID"
    else:
        state = f"{(ends_s - now_epoch_s) / 86_400:.0f} days left"
    return f"{moment(begins_s)} to {moment(ends_s)} ({state})"


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
