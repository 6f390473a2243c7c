"""A server that is killed in the midst of a swap, and what one that is started in its place serves."""

import random
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from shoal.admin import admin_pb2 as pb
from shoal_server.sources import state_text
from shoal_testing import models
from shoal_testing.caller import request_of
from shoal_testing.operator import Operator
from shoal_testing.process import ServerProcess, server_process
from shoal_testing.telling_models import plus

MODEL: Final = "m"
_STATE: Final = Path("models", ".shoal")
_LONGEST_S: Final = 0.004  # after a step was told: about as long as the longest step of so small a model


@dataclass(frozen=True, slots=True)
class Kill:
    """After how many updates of a swap the server is killed, and how many seconds after the last of these.

    ``keep_warm_s`` is the swap's.
    """

    updates: int
    delay_s: float
    keep_warm_s: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """A swap that was killed: from which version to which, and what was seen: steps that ended, and the result."""

    kill: Kill
    before: int
    wanted: int
    ended: frozenset[int]
    done: bool


def any_kill(chance: random.Random) -> Kill:
    """Choose a point of a swap, from before its first step until after its end."""
    return Kill(chance.randrange(16), chance.uniform(0, _LONGEST_S), chance.choice((0.0, 300.0)))


def kill_and_start_again(folder: Path, kills: Sequence[Kill]) -> list[tuple[Attempt, int]]:
    """Swap back and forth, kill the server each time, and look at what the next one serves; return both.

    One server is looked at and then killed, so there is one more of them than kills.
    """
    for version in (1, 2):
        models.save(folder / "models", MODEL, plus(version), version)
    attempts: list[Attempt] = []
    served: list[int] = []
    for kill in (*kills, None):
        recorded = _recorded(folder)
        with server_process("models", folder=folder) as server, Operator(server.ready_address()) as operator:
            served.append(_looked_at(operator))
            if attempts:
                _assert_follows(attempts[-1], recorded, served[-1])
            assert not [line for line in server.errors if " ERROR " in line or "Traceback" in line], server.errors
            if kill is not None:
                attempts.append(_killed(server, operator, served[-1], kill))
        assert {file.name for file in (folder / _STATE).glob("*")} <= {"desired.json", "desired.json.new", "lock"}
    return list(zip(attempts, served[1:], strict=True))


def _killed(server: ServerProcess, operator: Operator, before: int, kill: Kill) -> Attempt:
    wanted = 3 - before
    ended: set[int] = set()
    done = False
    seen = 0
    end = threading.Timer(kill.delay_s, server.send, (signal.SIGKILL,))
    if not kill.updates:
        end.start()
    try:
        request = pb.SwapVersionRequest(model=MODEL, version=wanted, keep_warm_s=kill.keep_warm_s)
        for update in operator.updates(request):
            seen += 1
            if seen == kill.updates:
                end.start()
            done = update.HasField("result")
            if update.step.HasField("seconds"):
                ended.add(update.step.kind)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017 - so ends a call whose server was killed
    if seen < kill.updates:
        end.start()
    assert server.exit_code() == -signal.SIGKILL
    return Attempt(kill, before, wanted, frozenset(ended), done)


def _recorded(folder: Path) -> int | None:
    """Return the version that the state file says answers; it has to be one that can be read, or none at all."""
    file = folder / _STATE / "desired.json"
    if not file.exists():
        return None
    state = state_text.read(file.read_text()).get(MODEL)
    return None if state is None else state.current


def _looked_at(operator: Operator) -> int:
    """Return the version that answers, in whichever way it is asked."""
    model = operator.models()[MODEL]
    current = model.current_version
    outcome = operator.infer(request_of(MODEL, x=np.zeros((1, 2), np.float32)))
    assert int(outcome.answer.model_version) == current, model
    assert outcome.array().tolist() == [[current] * 2], model
    assert operator.states(MODEL)[current] == "READY", model
    assert model.labels["stable"] == current, model
    assert (model.problem, model.operation) == ("", ""), model
    return current


def _assert_follows(attempt: Attempt, recorded: int | None, current: int) -> None:
    """Check that the old or the new version serves, the new one if it was said to be recorded, as the file has it."""
    assert current in {attempt.before, attempt.wanted}, attempt
    assert recorded in {None, current}, attempt
    if attempt.done or pb.Step.RECORD in attempt.ended:
        assert current == attempt.wanted, attempt
