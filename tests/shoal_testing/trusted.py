"""A server that asks for certificates, and callers who show one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from shoal_testing import models
from shoal_testing.caller import Caller, request_of
from shoal_testing.certificates import ADMIN, LOCAL, Authority, Pair
from shoal_testing.server import RunningServer, running_server

LIST_MODELS = "/shoal.admin.v1.AdminService/ListModels"
_ROW = np.array([[1.0, 2.0]], np.float32)
REPOSITORY_LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"


@dataclass(frozen=True, slots=True)
class TrustedServer:
    """A server of the model ``m`` (y = x); ``authority`` vouches for it and for its callers, ``files`` are its own."""

    running: RunningServer
    authority: Authority
    files: Path

    def caller(self, pair: Pair | None, trusting: Authority | None = None) -> Caller:
        """Return a caller with that certificate, who trusts the server's CA or another."""
        return Caller(self.running.address, credentials((trusting or self.authority).certificate, pair))


def credentials(ca: bytes, pair: Pair | None) -> grpc.ChannelCredentials:
    """Return what a channel takes."""
    if pair is None:
        return grpc.ssl_channel_credentials(ca)
    return grpc.ssl_channel_credentials(ca, pair.key, pair.certificate)


@contextmanager
def trusted_server(folder: Path, **tls: object) -> Iterator[TrustedServer]:
    """Serve with mTLS; ``tls`` are further settings of that section."""
    authority = Authority()
    certificate, key = authority.issue(*LOCAL).write(folder, "server")
    client_ca = folder / "ca.pem"
    client_ca.write_bytes(authority.certificate)
    models.save(folder / "models", "m", models.identity())
    section = {"certificate": certificate, "key": key, "client_ca": client_ca, **tls}
    with running_server(folder / "models", tls=section, admin={"identities": (ADMIN,)}) as running:
        yield TrustedServer(running, authority, folder)


def infers(caller: Caller) -> str:
    """Return how an inference of the caller ends."""
    outcome = caller.infer(request_of("m", x=_ROW), timeout_s=5)
    if outcome.status == "OK":
        assert outcome.array().tolist() == _ROW.tolist()
    return outcome.status
