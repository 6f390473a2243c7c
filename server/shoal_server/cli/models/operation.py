"""An operation on a model, from its request to its exit code: followed while it runs, explained when it fails."""

import json
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import typer
from google.protobuf.message import Message

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.failure import INTERRUPTED, MISUSED, Failure
from shoal_server.cli.models.admin import Admin
from shoal_server.cli.models.outcome import told
from shoal_server.cli.models.progress import Steps, steps_view
from shoal_server.cli.plain import plain
from shoal_server.cli.remote import CallFailed
from shoal_server.cli.tls_flags import TlsFlags

_KEY_LENGTH: Final = 128

# With these the call has ended and the operation perhaps not.
_IN_DOUBT: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Operation:
    """``method`` is its RPC, ``model`` what it changes, ``goal`` what it is to do, in words."""

    method: str
    model: str
    goal: str
    request: Message
    change: pb.Change


def change(*, expect: int | None, dry_run: bool, key: str) -> pb.Change:
    """Return what every change takes; where no key is given, it gets one of its own.

    Raises:
        Failure: the key is longer than a server takes.
    """
    if len(key) > _KEY_LENGTH:
        raise Failure(f"--idempotency-key takes at most {_KEY_LENGTH} characters, not {len(key)}", MISUSED)
    return pb.Change(idempotency_key=key or uuid4().hex, expected_current_version=expect or 0, dry_run=dry_run)


def perform(operation: Operation, address: str | None, timeout_s: float, tls: TlsFlags, *, as_json: bool) -> int:
    """Ask for an operation, show its steps as they begin and end, print its result; return the exit code.

    Raises:
        Failure: it failed, or nobody knows; the text says how to find out.
    """
    try:
        with Admin(address, timeout_s, tls) as server, steps_view(operation.goal, as_json=as_json) as steps:
            result = _follow(server, operation, steps)
    except (Failure, KeyboardInterrupt) as error:
        failure = explained(operation, error)
        if as_json:
            typer.echo(json.dumps({"error": _as_dict(operation, error, failure)}, ensure_ascii=False))
        raise failure from error
    if as_json:
        typer.echo(json.dumps({"result": plain(result)}, ensure_ascii=False))
    else:
        for line in told(result, operation.goal, dry_run=operation.change.dry_run):
            typer.echo(line)
    return 0


def explained(operation: Operation, error: Failure | KeyboardInterrupt) -> Failure:
    """Return the failure with what its reader can do about it, where it is not known how the operation ended."""
    if isinstance(error, Failure) and not in_doubt(error):
        return error
    if isinstance(error, KeyboardInterrupt):
        cause, exit_code = "you have left; the operation goes on in the server", INTERRUPTED
    else:
        cause, exit_code = f"{error}; the operation may go on in the server", error.exit_code
    return Failure(
        f"{cause}: `shoal models watch {operation.model}` follows it, and the same command with --idempotency-key "
        f"{operation.change.idempotency_key} joins it, or tells its result, and does nothing twice",
        exit_code,
    )


def in_doubt(error: Failure) -> bool:
    """Return whether the operation may go on, or may have been done, although the call has failed."""
    return isinstance(error, CallFailed) and error.status in _IN_DOUBT


def _follow(server: Admin, operation: Operation, steps: Steps) -> pb.OperationResult:
    for update in server.stream(operation.method, operation.request, pb.OperationUpdate, operation.model):
        if update.HasField("result"):
            # Who joins an operation late, or asks for one that has ended, has not seen its steps.
            for step in update.result.steps:
                steps.show(step)
            return update.result
        if update.HasField("step"):
            steps.show(update.step)
    raise CallFailed("UNKNOWN", "the server has ended the operation without telling its result")


def _as_dict(operation: Operation, error: Failure | KeyboardInterrupt, failure: Failure) -> dict[str, object]:
    return {
        "status": error.status if isinstance(error, CallFailed) else None,
        "message": str(failure),
        "in_doubt": failure is not error,
        "idempotency_key": operation.change.idempotency_key,
    }
