import pytest

from shoal_server.cli.failure import Failure
from shoal_server.cli.remote import reachable


@pytest.mark.parametrize(
    ("listening", "called"),
    [
        ("127.0.0.1:8001", "127.0.0.1:8001"),
        ("0.0.0.0:8001", "127.0.0.1:8001"),
        ("[::]:8001", "[::1]:8001"),
        ("inference.internal:80", "inference.internal:80"),
        ("unix:/run/shoal.sock", "unix:/run/shoal.sock"),
    ],
)
def test_a_server_that_listens_everywhere_is_called_on_this_machine(listening: str, called: str) -> None:
    assert reachable(listening) == called


@pytest.mark.parametrize("listening", ["8001", "127.0.0.1:0", "host:"])
def test_an_address_that_names_no_port_is_refused(listening: str) -> None:
    with pytest.raises(Failure) as caught:
        reachable(listening)
    assert caught.value.exit_code == 2
