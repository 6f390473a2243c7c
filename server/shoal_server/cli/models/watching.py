"""`shoal models watch`: every change of a version, as it happens."""

import json
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.models.admin import Admin
from shoal_server.cli.models.history import changes
from shoal_server.cli.plain import plain
from shoal_server.cli.remote import Address, CallFailed
from shoal_server.cli.standard_streams import output_abandoned
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls


@with_tls
def watch(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="One model; all of them if none is named.")] = "",
    *,
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.001, help="How long to watch; until Ctrl-C by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line: a model, whole, whenever it has changed.")
    ] = False,
) -> int:
    """Tell how the models are, and then every change.

    Ends with Ctrl-C, after --timeout-s, or when nobody reads its output any more; all of these with the exit code 0.
    If the server ends, the exit code is 1.

    Example:
        shoal models watch
        shoal models watch digits --timeout-s 60
        shoal models watch --json | jq -c '[.model.name, .model.current_version]'
    """
    events = _events(model, address, timeout_s, tls)
    known: dict[str, pb.Model] = {}
    try:
        with closing(events):
            for event in events:
                if as_json:
                    typer.echo(json.dumps(plain(event), ensure_ascii=False))
                else:
                    for line in changes(known.get(event.model.name), event.model):
                        typer.echo(f"{_now()}  {line}")
                known[event.model.name] = event.model
                if output_abandoned():
                    return 0
    except KeyboardInterrupt:
        return 0
    except CallFailed as error:
        if error.status == "DEADLINE_EXCEEDED" and timeout_s is not None:
            return 0
        raise
    return 0


def _events(model: str, address: str | None, timeout_s: float | None, tls: TlsFlags) -> Generator[pb.ModelEvent]:
    with Admin(address, timeout_s, tls) as server:
        yield from server.stream("WatchModels", pb.WatchModelsRequest(model=model), pb.ModelEvent, model)


def _now() -> str:
    return f"{datetime.now(UTC).astimezone():%H:%M:%S}"
