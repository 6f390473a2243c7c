import logging
import sys

import pytest

from shoal_server.transport import choice
from shoal_server.transport.choice import TransportMissing, chosen


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The native transport is not installed."""
    monkeypatch.setitem(sys.modules, "shoal_native", None)


def test_grpcio_is_used_where_it_is_asked_for() -> None:
    assert chosen("grpcio") == "grpcio"


def test_auto_is_native_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "import_module", lambda _name: None)
    assert chosen("auto") == chosen("native") == "native"


@pytest.mark.usefixtures("missing")
def test_auto_without_the_native_one_is_grpcio_with_a_warning_of_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen("auto") == "grpcio"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "shoal-native cannot be imported" in record.message
    assert choice.LOST in record.message


@pytest.mark.usefixtures("missing")
def test_native_that_is_not_installed_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TransportMissing, match=r"cannot be imported.*make native.*grpcio"):
        chosen("native")
