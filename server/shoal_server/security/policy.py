"""May this peer call this method? Pure."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote

from shoal_server.errors import PermissionDenied, Unauthenticated
from shoal_server.transport.identity import DNS, SPIFFE, SUBJECT
from shoal_server.transport.port import Peer

_ADMIN_SERVICE: Final = "/shoal.admin.v1.AdminService/"
REPOSITORY_CHANGES: Final = frozenset(
    {
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/inference.GRPCInferenceService/RepositoryModelUnload",
    }
)
"""Methods of the inference protocol that change what is served."""

_MOST_CHARACTERS: Final = 200  # of an identity in a text: a certificate's names may be as long as it likes


def is_admin(method: str) -> bool:
    """Whether a method, by its full name, is for operators alone."""
    return method.startswith(_ADMIN_SERVICE) or method in REPOSITORY_CHANGES


def well_formed(identity: str) -> bool:
    """Whether a certificate could prove this identity, as ``identity_of`` writes it."""
    return any(identity.startswith(kind) and len(identity) > len(kind) for kind in (SPIFFE, DNS, SUBJECT))


@dataclass(frozen=True, slots=True)
class AdminPolicy:
    """Who may call the admin methods of one listener.

    ``demands_certificates``: callers have shown a certificate, or are not there. Then those in ``identities`` may, and
    nobody else, from wherever they call. Otherwise whoever is on this machine may.
    """

    demands_certificates: bool
    identities: frozenset[str] = frozenset()

    def refusal(self, peer: Peer) -> Unauthenticated | PermissionDenied | None:
        """Return why the peer may not, or None where it may."""
        if not self.demands_certificates:
            if is_local(peer.address):
                return None
            return Unauthenticated(
                "this method is for operators: without client certificates (tls.client_ca) it can be called from the "
                "server's own machine only"
            )
        if not peer.identity:
            return PermissionDenied(
                "this method is for operators, and your certificate proves no identity: it wants one SPIFFE URI, a "
                "DNS name or a subject"
            )
        if peer.identity in self.identities:
            return None
        return PermissionDenied(
            f"this method is for operators: your certificate proves {peer.identity:.{_MOST_CHARACTERS}}, which is not "
            "among admin.identities in the server's configuration"
        )


def is_local(address: str) -> bool:
    """Whether a peer's address, as gRPC writes it (``ipv4:127.0.0.1:5000``, ``unix:...``), is on this machine."""
    kind, _, rest = address.partition(":")
    if kind in ("unix", "unix-abstract"):
        return True
    if kind not in ("ipv4", "ipv6"):
        return False
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)  # a socket for both families shows IPv4 callers in this form
    return bool((mapped or ip).is_loopback)
