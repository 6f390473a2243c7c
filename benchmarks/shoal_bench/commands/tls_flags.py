"""The flags that say how a target is reached by TLS, shared by the commands that put a load on one."""

import argparse
from pathlib import Path

from shoal_bench.scenario import ScenarioError
from shoal_bench.secure import Tls


def add_tls_flags(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--ca", type=Path, metavar="FILE", help="TLS: whom to trust, PEM")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="mTLS: the certificate to show, PEM")
    parser.add_argument("--key", type=Path, metavar="FILE", help="mTLS: its key, PEM")
    parser.add_argument(
        "--server-name", metavar="NAME", help="TLS: the name of the server's certificate (the target's host)"
    )


def tls_of(given: argparse.Namespace) -> Tls | None:
    """Return what the files hold; None where there is no CA.

    Raises:
        ScenarioError: one cannot be read, or only some of what belongs together is given.
    """
    ca, certificate, key, server_name = given.ca, given.certificate, given.key, given.server_name
    if ca is None:
        if certificate or key or server_name:
            raise ScenarioError("--certificate, --key and --server-name go with a --ca")
        return None
    if not given.target:
        raise ScenarioError("--ca is for a --target: the server that is started here has no TLS")
    if (certificate is None) != (key is None):
        raise ScenarioError("--certificate and --key go together")
    try:
        return Tls(
            ca.read_bytes(),
            certificate.read_bytes() if certificate else b"",
            key.read_bytes() if key else b"",
            server_name or "",
        )
    except OSError as error:
        raise ScenarioError(f"{error.filename} cannot be read: {error.strerror}") from error
