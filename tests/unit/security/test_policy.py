from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.methods import METHODS
from shoal_server.errors import PermissionDenied, Unauthenticated
from shoal_server.security.policy import AdminPolicy, is_admin, is_local, well_formed
from shoal_server.transport.port import Peer

ADMIN = "spiffe://test/admin"
HERE, ELSEWHERE = "ipv4:127.0.0.1:5000", "ipv4:10.0.0.7:5000"
IDENTITIES = st.sampled_from(["", ADMIN, "spiffe://test/caller", "dns:a.example", "subject:CN=a"]) | st.text()
ADDRESSES = st.sampled_from([HERE, ELSEWHERE, "unix:/run/shoal", "ipv6:%5B::1%5D:1", ""]) | st.text()


@pytest.mark.parametrize(
    ("demands", "identities", "peer", "refusal"),
    [
        (True, {ADMIN}, Peer(ELSEWHERE, ADMIN), None),
        (True, {ADMIN}, Peer(HERE, ADMIN), None),
        (True, {ADMIN}, Peer(HERE, "spiffe://test/caller"), PermissionDenied),
        (True, {ADMIN}, Peer(HERE, ""), PermissionDenied),
        (True, {ADMIN}, Peer(HERE, "subject:" + ADMIN), PermissionDenied),
        (True, {ADMIN}, Peer(HERE, ADMIN + "/more"), PermissionDenied),
        (True, set(), Peer(HERE, ADMIN), PermissionDenied),
        (True, {""}, Peer(HERE, ""), PermissionDenied),
        (False, set(), Peer(HERE), None),
        (False, set(), Peer("unix:/run/shoal.sock"), None),
        (False, set(), Peer(ELSEWHERE), Unauthenticated),
        (False, {ADMIN}, Peer(ELSEWHERE, ADMIN), Unauthenticated),
    ],
)
def test_who_may_call_an_admin_method(
    *, demands: bool, identities: set[str], peer: Peer, refusal: type[Exception] | None
) -> None:
    refused = AdminPolicy(demands, frozenset(identities)).refusal(peer)
    assert refused is None if refusal is None else type(refused) is refusal


def test_a_refusal_says_which_identity_the_caller_has_and_where_to_name_it() -> None:
    refused = AdminPolicy(demands_certificates=True).refusal(Peer(HERE, "dns:a.example"))
    assert "dns:a.example" in str(refused)
    assert "admin.identities" in str(refused)


def test_the_text_of_a_refusal_is_short_however_long_the_identity_is() -> None:
    refused = AdminPolicy(demands_certificates=True).refusal(Peer(HERE, "dns:" + "a" * 100_000))
    assert len(str(refused)) < 500


@given(demands=st.booleans(), named=st.frozensets(IDENTITIES), address=ADDRESSES, identity=IDENTITIES)
def test_nobody_is_let_in_who_is_neither_named_nor_where_nobody_is_asked_local(
    *, demands: bool, named: frozenset[str], address: str, identity: str
) -> None:
    allowed = AdminPolicy(demands, named).refusal(Peer(address, identity)) is None
    assert allowed == (bool(identity) and identity in named if demands else is_local(address))


@given(named=st.frozensets(IDENTITIES), more=IDENTITIES, address=ADDRESSES, identity=IDENTITIES)
def test_naming_one_more_takes_nothing_from_the_others(
    named: frozenset[str], more: str, address: str, identity: str
) -> None:
    peer = Peer(address, identity)
    if AdminPolicy(demands_certificates=True, identities=named).refusal(peer) is None:
        assert AdminPolicy(demands_certificates=True, identities=named | {more}).refusal(peer) is None


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.9.9.9:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", True),
        ("unix:/run/shoal.sock", True),
        ("unix-abstract:shoal", True),
        ("ipv4:10.0.0.1:5000", False),
        ("ipv4:0.0.0.0:5000", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", False),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", False),
        ("ipv4:localhost:5000", False),
        ("dns:localhost", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_what_is_on_this_machine(*, address: str, local: bool) -> None:
    assert is_local(address) is local


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(1, 65535))
def test_an_address_is_local_where_it_is_a_loopback_address(ip: IPv4Address | IPv6Address, port: int) -> None:
    address = f"ipv4:{ip}:{port}" if isinstance(ip, IPv4Address) else f"ipv6:%5B{ip}%5D:{port}"
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    assert is_local(address) == (mapped or ip).is_loopback


def test_all_of_the_admin_service_and_what_changes_the_repository_is_for_operators() -> None:
    assert {path for path in METHODS if is_admin(path)} == {
        *(path for path in METHODS if path.startswith("/shoal.admin.")),
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/inference.GRPCInferenceService/RepositoryModelUnload",
    }


@pytest.mark.parametrize(
    ("identity", "good"),
    [
        ("spiffe://test/a", True),
        ("dns:a", True),
        ("subject:CN=a", True),
        ("spiffe://", False),
        ("a.example", False),
        ("CN=a", False),
        ("", False),
    ],
)
def test_an_identity_says_its_kind(*, identity: str, good: bool) -> None:
    assert well_formed(identity) is good
