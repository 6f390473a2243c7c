"""Options are checked where they are made."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal_client import AsyncClient, Client, ClientClosed, ConfigurationError, Keepalive, Tls
from shoal_client.channel import channel_options, check_target
from shoal_client.options import ClientOptions


@pytest.mark.parametrize(
    "target", ["127.0.0.1:8001", "host:1", "[::1]:8001", "dns:///models.svc:8001", "unix:/run/shoal.sock"]
)
def test_targets_of_these_forms_are_taken(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize(
    "target", ["", "host", "host:", ":8001", "host:0", "host:65536", "host:http", "http://host:8001", "a b:1", "a:1\n"]
)
def test_targets_that_nobody_can_reach_are_refused_before_any_call(target: str) -> None:
    with pytest.raises(ConfigurationError, match="a target is HOST:PORT"):
        AsyncClient(target)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"timeout_s": 0}, "timeout_s is above 0"),
        ({"timeout_s": "1"}, "timeout_s is above 0 and at most 86400 s, got '1'"),
        ({"timeout_s": float("inf")}, "timeout_s is above 0"),
        ({"timeout_s": float("nan")}, "timeout_s is above 0"),
        ({"compression": "zip"}, "compression is none, gzip or deflate"),
        ({"max_message_bytes": 0}, "max_message_bytes is above 0"),
        ({"metadata": {"Upper": "x"}}, "metadata names are lower-case"),
        ({"metadata": {"": "x"}}, "metadata names are lower-case"),
        ({"metadata": {"grpc-timeout": "x"}}, "belong to gRPC itself"),
        ({"metadata": {"a-bin": "x"}}, "is bytes if its name ends in -bin"),
        ({"metadata": {"a": b"x"}}, "is bytes if its name ends in -bin"),
        ({"metadata": {"a": "line\n"}}, "printable ASCII"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Client("a:1", **wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Keepalive(time_s=0),
        lambda: Tls(certificate=b"x"),
        lambda: Tls(check_every_s=0),
        lambda: AsyncClient([]),
        lambda: AsyncClient([f"host:{port}" for port in range(1, 258)]),
    ],
    ids=["keepalive", "key", "check", "no target", "many targets"],
)
def test_options_that_contradict_themselves_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_the_options_of_a_channel_are_those_of_the_client() -> None:
    options = ClientOptions(
        max_message_bytes=7,
        keepalive=Keepalive(10, 2, while_idle=True),
        tls=Tls(server_name="shoal"),
        channel_options={"grpc.enable_http_proxy": 1},
    )
    chosen = dict(channel_options(options, checked=True))
    assert chosen["grpc.max_receive_message_length"] == chosen["grpc.max_send_message_length"] == 7
    assert chosen["grpc.keepalive_time_ms"] == 10_000
    assert chosen["grpc.keepalive_timeout_ms"] == 2_000
    assert chosen["grpc.keepalive_permit_without_calls"] == 1
    assert chosen["grpc.ssl_target_name_override"] == "shoal"
    assert chosen["grpc.enable_http_proxy"] == 1, "what is given by name is stronger"
    assert "round_robin" in str(chosen["grpc.service_config"])
    assert "healthCheckConfig" in str(chosen["grpc.service_config"])
    assert "healthCheckConfig" not in str(dict(channel_options(options, checked=False))["grpc.service_config"])


def test_a_client_that_is_not_open_says_so() -> None:
    async def main() -> None:
        with pytest.raises(ClientClosed, match="async with"):
            await AsyncClient("a:1").infer("m", {})

    asyncio.run(main())
    with pytest.raises(ClientClosed, match="inside `with`"):
        Client("a:1").infer("m", {})
