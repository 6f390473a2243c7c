"""Where a server may be told to listen."""

import pytest

from shoal_server.config import ConfigError, Settings, load, socket_path, split_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:8001", "127.0.0.1", 8001), ("[::1]:0", "[::1]", 0), ("a-b.example:65535", "a-b.example", 65535)],
)
def test_an_address_is_host_and_port(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert Settings(address=address).address == address


def test_a_server_listens_on_a_unix_socket_too_and_prometheus_is_not_told_there() -> None:
    assert socket_path("unix:/run/a:b.sock") == "/run/a:b.sock"
    assert socket_path("127.0.0.1:8001") is None
    said = {"address": "unix:/run/shoal.sock", "admin.address": "unix:admin.sock", "probe.address": "unix:/p"}
    settings = load(said, environ={}).settings
    assert (settings.address, settings.admin.address, settings.probe.address) == tuple(said.values())
    for key in ("address", "telemetry.prometheus"):
        wrong = "unix:" if key == "address" else "unix:/run/metrics.sock"
        with pytest.raises(ConfigError, match=f"{key} must be HOST:PORT"):
            load({key: wrong}, environ={})


@pytest.mark.parametrize("address", ["unix:", "unix:a\0b", f"unix:/{'x' * 107}", f"unix:/{'ä' * 54}"])
def test_what_is_no_path_of_a_socket_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="a Unix socket is unix:PATH with a path of 1 to 107 bytes"):
        socket_path(address)
