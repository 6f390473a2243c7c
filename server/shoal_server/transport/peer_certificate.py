"""What a certificate says about who shows it."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from cryptography import x509

from shoal_server.transport.identity import identity_of

_CERTIFICATES_KEPT: Final = 1024  # one for each caller that is connected, more or less
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def identity_in(certificate: x509.Certificate) -> str:
    """Return the identity that a certificate proves, as ``identity_of`` writes it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return identity_of((), (), subject_of(certificate))
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return identity_of(uris, names.get_values_for_type(x509.DNSName), subject_of(certificate))


def subject_of(certificate: x509.Certificate) -> str:
    """Return the subject as RFC 4514 writes it; characters that could break a line are escaped as well."""
    return _CONTROL.sub(lambda found: f"\\{ord(found[0]):02X}", certificate.subject.rfc4514_string())


def identity_of_pem(pem: bytes) -> str:
    """Return the identity that a verified certificate proves; empty for one that names nobody or cannot be read."""
    return _identity(x509.load_pem_x509_certificate, pem)


def identity_of_der(der: bytes) -> str:
    """The same, for a certificate as it is on the wire."""
    return _identity(x509.load_der_x509_certificate, der)


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def _identity(read: Callable[[bytes], x509.Certificate], certificate: bytes) -> str:
    """TLS has verified the certificate by the bytes that are read here, so what is odd in it is its CA's doing.

    Whoever cannot be told must not be taken for somebody.
    """
    try:
        return identity_in(read(certificate))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ""
