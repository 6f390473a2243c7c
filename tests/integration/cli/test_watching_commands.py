"""Labels, watching and draining, against a server that does as the test says."""

import json
from collections.abc import Callable
from typing import Any

import grpc

from shoal.admin import admin_pb2 as pb
from shoal_testing.fake_admin import FakeAdmin

Ask = Callable[..., tuple[int, str, str]]


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_labels_are_set_taken_away_and_told(ask: Ask, fake: FakeAdmin) -> None:
    assert ask("models", "label", "digits", "canary", "3") == (
        0,
        "digits: label canary stands for version 3 now (before: version 1)\n",
        "",
    )
    assert ask("models", "label", "digits", "canary", "--remove")[1] == (
        "digits: label canary stands for no version now (before: version 1)\n"
    )
    assert fake.requests["SetLabel"][1].version == 0
    assert json.loads(ask("models", "label", "digits", "canary", "3", "--json")[1]) == {
        "previous_version": 1,
        "changed": True,
        "recorded": True,
    }


def test_watching_tells_how_it_is_and_every_change(ask: Ask, fake: FakeAdmin) -> None:
    later = pb.Model()
    later.CopyFrom(fake.model)
    later.current_version, later.operation = 1, "rollback"
    later.labels["stable"], later.labels["previous"] = 1, 2
    del later.labels["canary"]
    later.versions[1].state = pb.DRAINING
    later.versions[0].kept_warm_until = 0
    end = pb.Model(name="digits", current_version=1, problem="the folder\nis gone", versions=later.versions[:1])
    fake.events += [pb.ModelEvent(model=later), pb.ModelEvent(model=end)]
    code, out, _ = ask("models", "watch", "digits")
    assert code == 0
    assert [line[10:] for line in out.splitlines()] == [
        "digits version 1: READY",
        "digits version 1: kept warm",
        "digits version 2: READY",
        "digits: version 2 answers now",
        "digits: label canary stands for version 2",
        "digits: label previous stands for version 1",
        "digits: label stable stands for version 2",
        "digits: rollback has begun",
        "digits version 2: READY -> DRAINING",
        "digits: version 1 answers now",
        "digits: label canary stands for no version any more",
        "digits: label previous stands for version 2",
        "digits: label stable stands for version 1",
        "digits: rollback has ended",
        "digits version 2: gone",
        "digits: label previous stands for no version any more",
        "digits: label stable stands for no version any more",
        "digits: the folder is gone",
    ]
    assert fake.requests["WatchModels"] == [pb.WatchModelsRequest(model="digits")]


def test_watching_as_json_is_a_model_per_line_until_the_time_is_up(ask: Ask, fake: FakeAdmin) -> None:
    fake.watching.clear()
    code, out, err = ask("models", "watch", "--json", "--timeout-s", "1.5")
    assert (code, err) == (0, "")
    [event] = objects(out)
    assert event["model"]["labels"] == {"stable": 2, "previous": 1, "canary": 2}
    assert event["caught_up"] is True


def test_a_server_that_ends_while_it_is_watched_is_a_failure(ask: Ask, fake: FakeAdmin) -> None:
    fake.status = (grpc.StatusCode.UNAVAILABLE, "Socket closed")
    code, _, err = ask("models", "watch")
    assert (code, err) == (1, "shoal: UNAVAILABLE: Socket closed\n")


def test_draining_waits_tells_who_is_inside_and_can_be_undone(ask: Ask, fake: FakeAdmin) -> None:
    assert ask("drain")[:2] == (
        0,
        "drained: new callers are refused, nobody is inside; `shoal drain --undo` lets them in again\n",
    )
    fake.inside = 3
    code, out, _ = ask("drain", "--wait-s", "2.5")
    assert code == 1, "it was waited for, and in vain"
    assert "3 requests are still inside" in out
    assert ask("drain", "--wait-s", "0")[0] == 0, "nobody was waited for"
    assert ask("drain", "--undo")[:2] == (0, "callers are let in again\n")
    assert json.loads(ask("drain", "--json")[1]) == {"requests": 3}
    assert [(request.wait_s, request.undo) for request in fake.requests["Drain"]] == [
        (30.0, False),
        (2.5, False),
        (0.0, False),
        (0.0, True),
        (30.0, False),
    ]
