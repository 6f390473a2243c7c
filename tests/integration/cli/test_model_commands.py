"""The commands that change models, against a server that does as the test says."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.root import run
from shoal_testing.fake_admin import FakeAdmin, step

Ask = Callable[..., tuple[int, str, str]]


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


@pytest.mark.parametrize("number", ["canary", "0", "1.5", str(1 << 63), "9" * 5000])
@pytest.mark.parametrize(
    "command",
    [("swap", "digits"), ("load", "digits"), ("label", "digits", "canary"), ("swap", "digits", "2", "--expect")],
)
def test_what_is_no_number_of_a_version_is_one_line_and_no_call(
    ask: Ask, fake: FakeAdmin, command: tuple[str, ...], number: str
) -> None:
    code, out, err = ask("models", *command, number)
    assert (code, out, fake.requests) == (2, "", {})
    assert f"a version is a whole number above 0, as `shoal models` lists them, got {number!r:.40}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "method"),
    [
        (("swap", "digit", "2"), "SwapVersion"),
        (("load", "digit", "2"), "LoadVersion"),
        (("unload", "digit", "2"), "UnloadVersion"),
        (("rollback", "digit"), "Rollback"),
        (("label", "digit", "canary", "2"), "SetLabel"),
        (("watch", "digit"), "WatchModels"),
    ],
)
def test_a_name_that_no_model_has_is_answered_with_the_one_that_is_like_it(
    ask: Ask, fake: FakeAdmin, command: tuple[str, ...], method: str
) -> None:
    fake.denied[method] = grpc.StatusCode.NOT_FOUND
    code, _, err = ask("models", *command)
    assert (code, err) == (1, "shoal: NOT_FOUND: unknown model 'digit'; did you mean digits?\n")


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
