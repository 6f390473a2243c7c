"""Who a verified certificate belongs to, in one string."""

from collections.abc import Sequence
from typing import Final

SPIFFE: Final = "spiffe://"
DNS: Final = "dns:"
SUBJECT: Final = "subject:"


def identity_of(uris: Sequence[str], dns_names: Sequence[str], subject: str) -> str:
    """Return the identity that a certificate proves: its SPIFFE URI, else its first DNS name, else its subject.

    ``uris`` and ``dns_names`` are the subject alternative names, ``subject`` the distinguished name as RFC 4514 writes
    it. A SPIFFE identity stands as it is, and only where there is exactly one, as the SPIFFE X.509-SVID specification
    demands (section 2); the others say their kind, so that a subject that looks like a name is not taken for one. Empty
    where the certificate names nobody.
    """
    spiffe = [uri for uri in uris if uri.startswith(SPIFFE)]
    if len(spiffe) == 1 and len(uris) == 1:
        return spiffe[0]
    if dns_names and not spiffe:
        return DNS + dns_names[0].lower()
    return SUBJECT + subject if subject and not spiffe else ""
