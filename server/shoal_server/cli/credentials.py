"""Which certificates a command calls a server with, from flags and settings, read and looked at before the call."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.tls_flags import TlsFlags
from shoal_server.clock import MonotonicClock
from shoal_server.config.settings import ClientSettings


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of PEM, at least one of them set; ``server_name`` stands for the address's host where it is set."""

    ca: Path | None
    certificate: Path | None
    key: Path | None
    server_name: str

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel takes.

        Raises:
            Failure: a file cannot be read, holds something else, does not fit the others, or has expired.
        """
        # Here, as most commands call without TLS, and cryptography takes a while to import.
        from shoal_server.security.certificates import certificates_in, read_material  # noqa: PLC0415 - see above
        from shoal_server.security.material import TlsFiles, UnusableMaterial  # noqa: PLC0415

        try:
            ca = certificates_in(self.ca) if self.ca is not None else None
            if self.certificate is None or self.key is None:
                return grpc.ssl_channel_credentials(ca)
            own = read_material(TlsFiles(self.certificate, self.key), MonotonicClock.epoch()).tls
        except UnusableMaterial as problem:
            raise Failure(str(problem), MISUSED) from problem
        return grpc.ssl_channel_credentials(ca, own.key, own.certificate)


def chosen(flags: TlsFlags, settings: ClientSettings) -> Credentials | None:
    """Return what to call with, each flag before its setting; None where neither names anything.

    Raises:
        Failure: a certificate without its key, or the other way round.
    """
    # A certificate on the command line is another caller, who does not have the key of the one in the file.
    own = flags.certificate is not None or flags.key is not None
    found = Credentials(
        Path(flags.ca) if flags.ca else settings.ca,
        (Path(flags.certificate) if flags.certificate else None) if own else settings.certificate,
        (Path(flags.key) if flags.key else None) if own else settings.key,
        flags.server_name or settings.server_name,
    )
    if (found.certificate is None) != (found.key is None):
        missing, there = ("key", "certificate") if found.key is None else ("certificate", "key")
        prefix = "--tls-" if own else "client."
        raise Failure(f"{prefix}{there} is given and {prefix}{missing} is not; your identity takes both", MISUSED)
    if found.ca is None and found.certificate is None and not found.server_name:
        return None
    return found
