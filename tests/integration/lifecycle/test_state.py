"""What operators want outlasts the server."""

import json
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.errors import CannotListen, LoadFailed
from shoal_server.listeners import Listeners
from shoal_testing import models
from shoal_testing.operator import Operator
from shoal_testing.refusals import assert_refused
from shoal_testing.server import WAIT_S, running_server
from shoal_testing.telling_models import plus

INFERENCE = "/inference.GRPCInferenceService/"


def current(folder: Path, **sections: Any) -> tuple[int, dict[int, str], dict[str, int]]:  # noqa: ANN401 - those of Settings
    """Start a server; return what answers, the states and the labels."""
    with running_server(folder, **sections) as running, Operator(running.address) as operator:
        model = operator.models()["m"]
        return model.current_version, operator.states("m"), dict(model.labels)


def test_a_restarted_server_serves_what_operators_wanted(folder: Path) -> None:
    with running_server(folder) as running, Operator(running.address) as operator:
        operator.load("m", 3)
        operator.label("m", "blue", 3)
        assert operator.swap("m", 2).done.recorded
        assert json.loads((folder / ".shoal" / "desired.json").read_text()) == {
            "format": 1,
            "models": {"m": {"versions": [2, 3], "current": 2, "previous": 1, "labels": {"blue": 3}}},
        }
    wanted = (2, {2: "READY", 3: "READY"}, {"stable": 2, "previous": 1, "blue": 3})
    assert current(folder) == wanted
    with running_server(folder) as running, Operator(running.address) as operator:
        assert operator.roll_back("m").done.current_version == 1
    assert current(folder)[0] == 1


def test_what_a_stock_client_unloads_stays_unloaded_until_it_loads_it(folder: Path) -> None:
    with running_server(folder) as running, Operator(running.address) as operator:
        message = pb.RepositoryModelUnloadRequest(model_name="m").SerializeToString()
        assert operator.call(message, INFERENCE + "RepositoryModelUnload").status == "OK"
    assert current(folder) == (0, {}, {})
    with running_server(folder) as running, Operator(running.address) as operator:
        message = pb.RepositoryModelLoadRequest(model_name="m").SerializeToString()
        assert operator.call(message, INFERENCE + "RepositoryModelLoad").status == "OK"
    assert current(folder) == (1, {1: "READY"}, {"stable": 1})
    assert json.loads((folder / ".shoal" / "desired.json").read_text())["models"] == {}


def test_a_wanted_version_that_cannot_be_loaded_has_no_substitute(folder: Path) -> None:
    with running_server(folder) as running, Operator(running.address) as operator:
        operator.load("m", 3)
        operator.swap("m", 2)
    shutil.rmtree(folder / "m" / "2")
    with running_server(folder) as running, Operator(running.address) as operator:
        assert operator.states("m") == {2: "FAILED", 3: "READY"}
        assert operator.models()["m"].current_version == 0
        assert "it is not there" in operator.models()["m"].versions[0].reason
        models.save(folder, "m", plus(2), 2)
        assert operator.swap("m", 2).done.current_version == 2


def test_a_model_that_has_gone_is_listed_with_what_was_wanted_of_it(folder: Path) -> None:
    models.save(folder, "other", plus(1))
    with running_server(folder) as running, Operator(running.address) as operator:
        operator.swap("m", 2)
    shutil.rmtree(folder / "m")
    with running_server(folder) as running, Operator(running.address) as operator:
        assert "the source has no such model" in operator.models()["m"].problem
        assert operator.models()["other"].current_version == 1


def test_where_nothing_can_be_written_a_change_is_made_and_said_to_be_unrecorded(folder: Path) -> None:
    with running_server(folder) as running, Operator(running.address) as operator:
        (folder / ".shoal").write_text("in the way")
        told = operator.swap("m", 2)
        assert (told.done.changed, told.done.current_version, told.done.recorded) == (True, 2, False)
        assert ".shoal cannot be written" in told.done.remarks[0]
        (folder / ".shoal").unlink()
        operator.load("m", 3)
    assert current(folder)[:2] == (2, {2: "READY", 3: "READY"})


def test_where_the_state_must_be_written_a_change_that_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    lifecycle = {"state": state}
    with running_server(folder, lifecycle=lifecycle) as running, Operator(running.address) as operator:
        state.write_text("in the way")
        told = operator.swap("m", 2)
        assert_refused(told.outcome, "FAILED_PRECONDITION", "cannot be written")
        assert not told.begun
        message = pb.RepositoryModelUnloadRequest(model_name="m").SerializeToString()
        refused = operator.call(message, INFERENCE + "RepositoryModelUnload")
        assert_refused(refused, "FAILED_PRECONDITION", "cannot be written")
        assert operator.models()["m"].current_version == 1
        state.unlink()
        assert operator.swap("m", 2).done.recorded
    assert current(folder, lifecycle=lifecycle)[0] == 2
    assert current(folder)[0] == 1


def test_a_second_server_does_not_write_what_the_first_one_writes(folder: Path) -> None:
    with running_server(folder) as one, Operator(one.address) as first:
        assert first.swap("m", 2).done.recorded
        with running_server(folder) as other, Operator(other.address) as second:
            told = second.swap("m", 3)
            assert (told.done.current_version, told.done.recorded) == (3, False)
            assert "another server uses it" in told.done.remarks[0]
    assert current(folder)[0] == 2


def test_a_single_file_keeps_its_state_beside_it(tmp_path: Path) -> None:
    path = models.save(tmp_path, "m", plus(5), 5)
    with running_server(path) as running, Operator(running.address) as operator:
        operator.label("m", "blue", 5)
        message = pb.RepositoryModelLoadRequest(model_name="m").SerializeToString()
        assert operator.call(message, INFERENCE + "RepositoryModelLoad").status == "OK"
        assert operator.models()["m"].versions[0].state == 4
    assert (path.parent / ".shoal" / "desired.json").is_file()
    assert current(path)[2] == {"stable": 5, "blue": 5}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "models": {}}', '{"format": 1}'])
def test_a_server_does_not_start_on_a_state_that_it_cannot_understand_and_leaves_nothing_behind(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    start = Listeners.start

    async def noted(listeners: Listeners) -> str:
        addresses.append(await start(listeners))
        return addresses[-1]

    monkeypatch.setattr(Listeners, "start", noted)
    (folder / ".shoal").mkdir()
    (folder / ".shoal" / "desired.json").write_text(text)
    before = set(threading.enumerate())
    with (
        pytest.raises(LoadFailed, match=r"desired.json, which says .* cannot be used: .* Put a good copy"),
        running_server(folder),
    ):
        pytest.fail("it serves")
    assert addresses, "it listened before it read the state"
    assert_gone(addresses, before)


def test_a_server_that_cannot_bind_its_second_address_leaves_nothing_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CannotListen) as raised, running_server(folder, probe={"address": taken}):
            pytest.fail("it serves")
        assert raised.value.setting == "probe.address"
    assert_gone([], before)


def assert_gone(addresses: list[str], before: set[threading.Thread]) -> None:
    """Nothing listens there any more, and the server's threads have ended that were not there before."""
    for address in addresses:
        host, _colon, port = address.rpartition(":")
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port))):
            pytest.fail(f"{address} is served")
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("shoal-", "server-under-test")):
            thread.join(WAIT_S)
            assert not thread.is_alive(), thread
