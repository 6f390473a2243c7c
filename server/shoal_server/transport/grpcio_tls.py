"""TLS of grpcio whose certificates can be replaced while it serves. gRPC's core takes TLS 1.2 and 1.3, and no older.

Of grpcio 1.85: the fetcher is called at the start of each handshake, on a thread of gRPC's own, and answers None where
nothing has changed. New material is for that handshake and all later ones; session tickets of the old one are void.
"""

import threading

import grpc

from shoal_server.transport.port import TlsMaterial


class RenewableCredentials:
    """Credentials of one listener. Whether callers must show a certificate is decided once, by the first material."""

    def __init__(self, material: TlsMaterial) -> None:
        self._demands = bool(material.client_ca)
        self._lock = threading.Lock()
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(material),
            self._fetch,  # type: ignore[arg-type] # None is right (grpc's docstring), the stubs do not know
            require_client_authentication=self._demands,
        )

    def renew(self, material: TlsMaterial) -> None:
        """Use this in the next handshake and all later ones; from any thread."""
        assert bool(material.client_ca) == self._demands, "what callers must show cannot be changed"
        fresh = _configuration(material)
        with self._lock:
            self._fresh = fresh

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            fresh, self._fresh = self._fresh, None
        return fresh


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca or None
    )
