"""Who calls, as quotas and fairness know him."""

from dataclasses import dataclass, field

import pytest

from shoal_server.options import CallerKey, CallerOptions
from shoal_server.rpc.caller import MOST_CHARACTERS, caller_of, host_of
from shoal_server.transport.port import Metadata, Peer


@dataclass
class Called:
    peer: Peer = field(default_factory=lambda: Peer("ipv4:10.0.0.7:4711"))
    metadata: Metadata = ()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("ipv4:127.0.0.1:39520", "127.0.0.1"),
        ("ipv6:%5B::1%5D:1234", "::1"),
        ("ipv6:[2001:db8::1]:1", "2001:db8::1"),
        ("unix:/run/shoal.sock", "unix:/run/shoal.sock"),
        ("", ""),
    ],
)
def test_a_host_is_named_without_its_port(address: str, host: str) -> None:
    assert host_of(address) == host


def named(by: CallerKey, called: Called, key: str = "x-caller-id") -> str:
    name = caller_of(CallerOptions(by=by, metadata_key=key))
    assert name is not None
    return name(called)


def test_a_verified_identity_counts_before_the_address() -> None:
    verified = Called(Peer("ipv4:10.0.0.7:4711", "spiffe://shop/cart"))
    assert named(CallerKey.IDENTITY, verified) == "spiffe://shop/cart"
    assert named(CallerKey.ADDRESS, verified) == "10.0.0.7"
    assert named(CallerKey.IDENTITY, Called()) == "10.0.0.7"


def test_a_trusted_key_of_the_metadata_names_the_caller() -> None:
    called = Called(metadata=(("a", "b"), ("x-caller-id", "cart"), ("x-caller-id", "other")))
    assert named(CallerKey.METADATA, called) == "cart"
    assert named(CallerKey.METADATA, called, "X-Caller-Id") == "cart"
    assert named(CallerKey.METADATA, Called(metadata=(("x-caller-id", b"\0"),))) == ""
    assert named(CallerKey.METADATA, Called()) == ""
    assert len(named(CallerKey.METADATA, Called(metadata=(("x-caller-id", "x" * 9999),)))) == MOST_CHARACTERS


def test_where_callers_are_not_told_apart_nobody_looks() -> None:
    assert caller_of(None) is None
