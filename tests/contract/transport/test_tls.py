"""TLS: who is let in, as whom, and certificates that are replaced while the listener serves."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from shoal_server.transport.port import TlsMaterial
from shoal_testing.certificates import CALLER, LOCAL, Authority, Pair
from shoal_testing.listening import WAIT_S, listening, unary


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue(*LOCAL)


@contextmanager
def connected(address: str, ca: bytes, client: Pair | None = None) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(ca, *((client.key, client.certificate) if client else ()))
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        yield channel


def described(channel: grpc.Channel) -> dict[str, object]:
    told: dict[str, object] = json.loads(unary(channel, "Describe")(b"", timeout=WAIT_S))
    return told


def refused(channel: grpc.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo")(b"", timeout=WAIT_S)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_a_caller_without_a_certificate_is_served_where_none_is_demanded(
    secure_kind: str, authority: Authority, server: Pair
) -> None:
    with (
        listening(secure_kind, TlsMaterial(server.certificate, server.key)) as served,
        connected(served.address, authority.certificate) as channel,
    ):
        assert unary(channel, "Echo")(b"x" * 500_000, timeout=WAIT_S) == b"x" * 500_000
        assert described(channel)["identity"] == ""


@pytest.mark.parametrize(
    ("names", "subject", "identity"),
    [
        ([CALLER], "somebody", CALLER),
        (["caller.example"], "somebody", "dns:caller.example"),
        ([], "some,body", "subject:CN=some\\,body"),
    ],
)
def test_a_verified_caller_has_the_identity_of_its_certificate(  # noqa: PLR0913, PLR0917 - three are its table
    secure_kind: str, authority: Authority, server: Pair, names: list[str], subject: str, identity: str
) -> None:
    material = TlsMaterial(server.certificate, server.key, authority.certificate)
    client = authority.issue(*names, subject=subject)
    with (
        listening(secure_kind, material) as served,
        connected(served.address, authority.certificate, client) as channel,
    ):
        assert [described(channel)["identity"] for _ in range(3)] == [identity] * 3


def test_callers_without_a_certificate_of_the_ca_are_not_let_in(
    secure_kind: str, authority: Authority, server: Pair
) -> None:
    material = TlsMaterial(server.certificate, server.key, authority.certificate)
    with listening(secure_kind, material) as served:
        for client in (None, Authority("another").issue(CALLER)):
            with connected(served.address, authority.certificate, client) as channel:
                assert refused(channel) is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(served.address) as channel:
            assert refused(channel) is grpc.StatusCode.UNAVAILABLE
        with connected(served.address, authority.certificate, authority.issue(CALLER)) as channel:
            assert described(channel)["identity"] == CALLER


def test_renewed_material_is_for_new_connections_and_old_ones_go_on(
    secure_kind: str, authority: Authority, server: Pair
) -> None:
    client = authority.issue(CALLER)
    next_authority = Authority("the next")
    next_server, next_client = next_authority.issue(*LOCAL), next_authority.issue(CALLER)
    material = TlsMaterial(server.certificate, server.key, authority.certificate)
    with (
        listening(secure_kind, material) as served,
        connected(served.address, authority.certificate, client) as old,
    ):
        assert described(old)["identity"] == CALLER
        served.transport.renew(TlsMaterial(next_server.certificate, next_server.key, next_authority.certificate))
        with connected(served.address, next_authority.certificate, next_client) as new:
            assert described(new)["identity"] == CALLER
        with connected(served.address, authority.certificate, client) as late:
            assert refused(late) is grpc.StatusCode.UNAVAILABLE
        assert described(old)["identity"] == CALLER


def test_material_that_cannot_be_used_leaves_what_there_was_in_use(
    kind: str, authority: Authority, server: Pair
) -> None:
    if kind != "native":
        pytest.skip("grpc says nothing until the next handshake: what reads the files has looked at them before")
    other = authority.issue(*LOCAL)
    with listening(kind, TlsMaterial(server.certificate, server.key)) as served:
        for wrong in (
            TlsMaterial(b"junk", server.key),
            TlsMaterial(server.certificate, b"junk"),
            TlsMaterial(server.certificate, other.key),
            TlsMaterial(server.certificate, server.key, b"junk"),
        ):
            with pytest.raises(ValueError, match=r"certificate|key|CA"):
                served.transport.renew(wrong)
        with connected(served.address, authority.certificate) as channel:
            assert unary(channel, "Echo")(b"on", timeout=WAIT_S) == b"on"


@pytest.mark.parametrize(
    ("version", "agreed"),
    [(ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_of_this_decade_is_spoken_and_no_older(
    secure_kind: str, authority: Authority, server: Pair, version: ssl.TLSVersion, agreed: str | None
) -> None:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    with listening(secure_kind, TlsMaterial(server.certificate, server.key)) as served:
        host, _colon, port = served.address.rpartition(":")
        with socket.create_connection((host, int(port)), WAIT_S) as plain:
            if agreed is None:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    context.wrap_socket(plain, server_hostname="localhost")
                return
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert (secure.version(), secure.selected_alpn_protocol()) == (agreed, "h2")
