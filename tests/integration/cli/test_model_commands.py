"""The commands that change models, against a server that does as the test says."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.root import run
from shoal_testing.fake_admin import FakeAdmin, fake_admin, step

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served() -> Iterator[tuple[str, FakeAdmin]]:
    with fake_admin() as served:
        yield served


@pytest.fixture
def fake(served: tuple[str, FakeAdmin]) -> FakeAdmin:
    return served[1]


@pytest.fixture
def ask(served: tuple[str, FakeAdmin], capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command against the server; returns exit code, output and errors."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--address", served[0]])
        return code, *capsys.readouterr()

    return run_it


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_swap_tells_its_steps_and_then_what_it_has_done(ask: Ask) -> None:
    code, out, err = ask("models", "swap", "digits", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:5] == [
        "swap digits to version 2",
        "  load version 2: begun after 1.00 ms",
        "  load version 2: 431 ms",
        "  publish version 2: begun after 440 ms",
        "  publish version 2: 0.40 ms",
    ]
    assert lines[5] == "digits: version 2 answers now, in the place of version 1"
    told = {line[:11].strip(): line[13:] for line in lines[6:]}
    assert told["took"] == "1.25 s"
    assert told["file"] == f"model.onnx, 3.0 MiB, sha256 {'2' * 64}"
    assert told["memory"] == "95.0 MiB before, 100.5 MiB at its peak, 97.0 MiB after"
    assert told["kept warm"].startswith("version 1 until 2001-09-0")
    assert "`shoal models rollback digits`" in told["kept warm"]
    assert told["recorded"] == "yes, a restarted server serves the same"
    assert told["remark"] == "the rows of version 2 are batched"


def test_a_swap_as_json_is_an_object_per_line_and_the_result_last(ask: Ask, fake: FakeAdmin) -> None:
    code, out, _ = ask("models", "swap", "digits", "2", "--json")
    assert code == 0
    *steps, last = objects(out)
    assert steps[0]["step"] == {"kind": "LOAD", "version": 2, "began_s": 0.001, "seconds": None}
    assert steps[1]["step"]["seconds"] == 0.431
    assert len(steps) == 4
    assert last["result"]["memory"] == {"before_bytes": 95 << 20, "peak_bytes": 105381888, "after_bytes": 97 << 20}
    assert last["result"]["current_version"] == 2
    assert len(fake.requests["SwapVersion"]) == 1


def test_what_is_asked_for_is_what_was_typed(ask: Ask, fake: FakeAdmin) -> None:
    common = ("--expect", "1", "--dry-run", "--idempotency-key", "k")
    ask("models", "swap", "digits", "2", "--keep-warm-s", "0", "--allow-signature-change", *common)
    ask("models", "load", "digits", "3", *common)
    ask("models", "unload", "digits", "1", "--force", *common)
    ask("models", "rollback", "digits", *common)
    ask("models", "label", "digits", "canary", "2", *common)
    change = pb.Change(idempotency_key="k", expected_current_version=1, dry_run=True)
    assert fake.requests == {
        "SwapVersion": [
            pb.SwapVersionRequest(
                model="digits", version=2, change=change, keep_warm_s=0.0, allow_signature_change=True
            )
        ],
        "LoadVersion": [pb.LoadVersionRequest(model="digits", version=3, change=change)],
        "UnloadVersion": [pb.UnloadVersionRequest(model="digits", version=1, change=change, force=True)],
        "Rollback": [pb.RollbackRequest(model="digits", change=change)],
        "SetLabel": [pb.SetLabelRequest(model="digits", label="canary", version=2, change=change)],
    }


def test_what_is_not_typed_is_left_to_the_server_but_for_a_key_of_its_own(ask: Ask, fake: FakeAdmin) -> None:
    ask("models", "swap", "digits", "2")
    ask("models", "swap", "digits", "2")
    first, second = fake.requests["SwapVersion"]
    assert first.change.idempotency_key != second.change.idempotency_key
    assert len(first.change.idempotency_key) == 32
    first.change.idempotency_key = ""
    assert first == pb.SwapVersionRequest(model="digits", version=2, change=pb.Change())
    assert not first.HasField("keep_warm_s")


def result(before: int, now: int, *, changed: bool = True) -> pb.OperationResult:
    return pb.OperationResult(model="digits", previous_version=before, current_version=now, changed=changed)


@pytest.mark.parametrize(
    ("done", "flags", "headline"),
    [
        (result(2, 2, changed=False), (), "digits: all is so already, nothing was changed; version 2 answers"),
        (result(0, 2), (), "digits: version 2 answers now"),
        (result(2, 2), (), "digits: done; version 2 answers, as before"),
        (result(2, 0), (), "digits: done; no version answers calls without a version any more, version 2 did"),
        (
            result(1, 1, changed=False),
            ("--dry-run",),
            "dry run: this would work (swap digits to version 2); nothing was changed",
        ),
    ],
)
def test_the_headline_says_what_answers_now(
    ask: Ask, fake: FakeAdmin, done: pb.OperationResult, flags: tuple[str, ...], headline: str
) -> None:
    fake.updates = [pb.OperationUpdate(result=done)]
    code, out, _ = ask("models", "swap", "digits", "2", *flags)
    assert code == 0
    assert out.splitlines()[1] == headline
    assert "  memory     not known here" in out.splitlines()


def test_who_is_told_only_the_result_sees_its_steps_all_the_same(ask: Ask, fake: FakeAdmin) -> None:
    fake.updates = fake.updates[-1:]
    out = ask("models", "swap", "digits", "2")[1]
    assert out.splitlines()[1:3] == ["  load version 2: 431 ms", "  publish version 2: 0.40 ms"]


def test_a_step_and_a_state_that_this_version_does_not_know_are_shown_by_number(ask: Ask, fake: FakeAdmin) -> None:
    fake.updates[0] = step(99, 2, 0.0)  # type: ignore[arg-type] # a later version of the protocol has it
    fake.events[0].model.versions[0].state = 98  # type: ignore[assignment] # the same
    assert "  step 99 of version 2: begun after 0.00 ms\n" in ask("models", "swap", "digits", "2")[1]
    assert "digits version 1: 98\n" in ask("models", "watch")[1]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "version 2 answers, not 1"),
        (grpc.StatusCode.NOT_FOUND, "unknown model"),
        (grpc.StatusCode.PERMISSION_DENIED, "not for you"),
    ],
)
def test_a_refusal_is_one_line_and_needs_no_key(ask: Ask, fake: FakeAdmin, status: grpc.StatusCode, text: str) -> None:
    fake.updates, fake.status = [], (status, text)
    for command in (("swap", "digits", "2"), ("rollback", "digits"), ("label", "digits", "canary", "2")):
        code, _, err = ask("models", *command)
        assert (code, err) == (1, f"shoal: {status.name}: {text}\n")


def test_a_call_that_breaks_off_says_how_to_follow_and_how_to_ask_again(ask: Ask, fake: FakeAdmin) -> None:
    fake.updates, fake.status = fake.updates[:1], (grpc.StatusCode.UNAVAILABLE, "Socket closed")
    code, out, err = ask("models", "swap", "digits", "2")
    key = fake.requests["SwapVersion"][0].change.idempotency_key
    assert code == 1
    assert out.splitlines()[-1] == "  load version 2: begun after 1.00 ms"
    assert err == (
        "shoal: UNAVAILABLE: Socket closed; the operation may go on in the server: `shoal models watch digits` follows "
        f"it, and the same command with --idempotency-key {key} joins it, or tells its result, and does nothing twice\n"
    )


def test_a_failure_as_json_is_the_last_object(ask: Ask, fake: FakeAdmin) -> None:
    fake.updates, fake.status = fake.updates[:1], (grpc.StatusCode.INTERNAL, "internal error")
    code, out, err = ask("models", "swap", "digits", "2", "--json", "--idempotency-key", "mine")
    assert code == 1
    error = objects(out)[-1]["error"]
    assert error["status"] == "INTERNAL"
    assert error["in_doubt"] is True
    assert error["idempotency_key"] == "mine"
    assert f"shoal: {error['message']}\n" == err


def test_patience_that_ends_is_told_with_the_key(ask: Ask, fake: FakeAdmin) -> None:
    fake.held.clear()
    code, _, err = ask("models", "swap", "digits", "2", "--timeout-s", "0.3")
    assert code == 1
    assert "gave no answer within 0.3 s" in err
    assert f"--idempotency-key {fake.requests['SwapVersion'][0].change.idempotency_key}" in err


def test_a_stream_without_a_result_is_no_success(ask: Ask, fake: FakeAdmin) -> None:
    fake.updates = fake.updates[:2]
    code, _, err = ask("models", "swap", "digits", "2")
    assert code == 1
    assert "without telling its result" in err


@pytest.mark.parametrize(
    "command",
    [("models", "swap", "digits", "2"), ("models", "label", "digits", "a", "2"), ("models", "watch"), ("drain",)],
)
def test_a_server_without_the_admin_service_is_told_from_a_failure(
    ask: Ask, fake: FakeAdmin, command: tuple[str, ...]
) -> None:
    fake.offered = False
    code, _, err = ask(*command)
    assert code == 1
    assert err.startswith("shoal: the server there offers no admin service (it is none of Shoal's, an older one, or ")
    assert err.count("\n") == 1


def test_ctrl_c_ends_the_command_and_says_that_the_operation_goes_on(served: tuple[str, FakeAdmin]) -> None:
    address, fake = served
    fake.held.clear()
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-m", "shoal_server", "models", "swap", "digits", "2", "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert fake.began.wait(15)
    assert process.stdout is not None
    while "load version 2" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130
    key = fake.requests["SwapVersion"][0].change.idempotency_key
    assert err == (
        "shoal: you have left; the operation goes on in the server: `shoal models watch digits` follows it, and the "
        f"same command with --idempotency-key {key} joins it, or tells its result, and does nothing twice\n"
    )


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_steps_are_drawn_and_end_with_their_times(
    served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["models", "swap", "digits", "2", "--address", served[0]]) == 0
    drawn = terminal.getvalue()
    assert "✓ load version 2" in drawn
    assert "431 ms" in drawn
    assert "digits: version 2 answers now, in the place of version 1" in drawn


def test_on_a_terminal_a_step_that_was_not_seen_to_end_says_so(
    served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, fake = served
    fake.updates, fake.status = fake.updates[:1], (grpc.StatusCode.UNAVAILABLE, "Socket closed")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["models", "swap", "digits", "2", "--address", address]) == 1
    assert "load version 2 (not seen to end)" in terminal.getvalue()
    assert "✓" not in terminal.getvalue()
    assert "Socket closed" in capsys.readouterr().err


def test_the_list_shows_what_answers_labels_digests_and_what_is_kept(ask: Ask, fake: FakeAdmin) -> None:
    fake.model.operation = "swap to version 3"
    code, out, _ = ask("models")
    assert code == 0
    headings, *rows, remark = out.splitlines()
    assert headings.startswith("MODEL   VERSION  STATE  CURRENT  LABELS          DIGEST        KEPT WARM UNTIL")
    assert rows[0].startswith("digits  1        READY  -        previous        111111111111  2001-09-0")
    assert rows[1].startswith("digits  2        READY  yes      canary, stable  222222222222  -")
    assert remark == "digits: swap to version 3 is under way"


def test_the_admin_service_is_asked_where_it_is_configured_to_listen(
    fake: FakeAdmin, served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_admin() as (address, other):
        monkeypatch.setenv("SHOAL_ADDRESS", served[0])
        monkeypatch.setenv("SHOAL_ADMIN__ADDRESS", address)
        assert run(["models"]) == 0
        assert run(["models", "swap", "digits", "2"]) == 0
    assert set(fake.requests) == {"RepositoryIndex", "ModelStatistics"}
    assert set(other.requests) == {"ListModels", "SwapVersion"}


def test_the_list_does_not_need_an_admin_service_that_is_out_of_reach(
    served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", served[0])
    monkeypatch.setenv("SHOAL_ADMIN__ADDRESS", "127.0.0.1:1")
    assert run(["models"]) == 0
    assert capsys.readouterr().out.startswith("MODEL   VERSION  STATE  BATCHED")


def test_the_list_as_json_says_null_of_what_it_was_not_told(ask: Ask, fake: FakeAdmin) -> None:
    [first, second] = json.loads(ask("models", "--json")[1])
    assert (first["current"], first["labels"], first["digest"]) == (False, ["previous"], "1" * 64)
    assert (second["current"], second["kept_warm_until"]) == (True, 0.0)
    fake.offered = False
    code, out, _ = ask("models", "--json")
    assert code == 0
    assert [(entry["current"], entry["labels"], entry["digest"]) for entry in json.loads(out)] == [(None,) * 3] * 2


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_the_list_needs_no_right_to_operate(ask: Ask, fake: FakeAdmin, status: grpc.StatusCode) -> None:
    fake.denied["ListModels"] = status
    code, out, _ = ask("models")
    assert code == 0
    assert out.startswith("MODEL   VERSION  STATE  BATCHED")


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
    code, out, err = ask("models", "watch", "--json", "--timeout-s", "0.3")
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "swap", "digits"], "Missing argument 'VERSION'. (`shoal models swap --help` explains)"),
        (["models", "swap", "digits", "0"], "`shoal models swap --help` explains"),
        (["models", "swop"], "`shoal models --help` explains"),
        (["models", "--json", "swap", "digits", "2"], "write options behind the command: shoal models swap ..."),
        (["models", "swap", "digits", "2", "--idempotency-key", "k" * 129], "at most 128 characters, not 129"),
        (["models", "label", "digits", "a"], "say either the VERSION"),
        (["models", "label", "digits", "a", "2", "--remove"], "say either the VERSION"),
        (["drain", "--undo", "--wait-s", "1"], "--undo waits for nobody"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_nothing_is_asked(
    fake: FakeAdmin, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert fake.requests == {}


@pytest.mark.parametrize(
    "arguments", [["models"], ["models", "--json"], ["models", "swap", "digits", "2"], ["models", "watch", "--json"]]
)
def test_a_reader_who_leaves_early_makes_no_failure(served: tuple[str, FakeAdmin], arguments: list[str]) -> None:
    address, fake = served
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "shoal_server", *arguments, "--address", address],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=15,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")
    assert fake.requests, "it was done all the same"


def test_watching_ends_when_nobody_reads_any_more(served: tuple[str, FakeAdmin]) -> None:
    address, fake = served
    fake.watching.clear()
    test_a_reader_who_leaves_early_makes_no_failure((address, fake), ["models", "watch", "--json"])


def test_an_output_that_cannot_be_written_is_one_line(served: tuple[str, FakeAdmin]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, no path of ours
        result = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", "shoal_server", "models", "--address", served[0]],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=15,
        )
    assert result.returncode == 1
    assert result.stderr == b"shoal: the output cannot be written: No space left on device\n"
