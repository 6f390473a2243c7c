"""`shoal drain`: let nobody in any more, and wait for those inside."""

import json
from typing import Annotated, Final

import typer

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.failure import FAILED, MISUSED, Failure
from shoal_server.cli.models.admin import Admin
from shoal_server.cli.plain import plain
from shoal_server.cli.remote import Address, Timeout
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls

_PATIENCE_S: Final = 30.0


@with_tls
def command(  # noqa: PLR0913 - one for each flag
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let callers in again.")] = False,
    wait_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, max=3600.0, help="How long to wait for those inside; 30 by default."),
    ] = None,
    address: Address = None,
    timeout_s: Timeout = 5.0,
    tls: TlsFlags = UNSAID,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> int:
    """Let nobody in any more and wait for those inside.

    The server tells load balancers that it is not ready, refuses new calls with UNAVAILABLE, and goes on running. The
    exit code is 0 once nobody is inside (with `--wait-s 0`: at once), 1 if some still are after the wait. `--timeout-s`
    comes on top of it.

    Example:
        shoal drain
        shoal drain --wait-s 300 && systemctl stop shoal
        shoal drain --undo
    """
    if undo and wait_s is not None:
        raise Failure("--undo waits for nobody; leave --wait-s away", MISUSED)
    patience_s = 0.0 if undo else _PATIENCE_S if wait_s is None else wait_s
    with Admin(address, patience_s + timeout_s, tls) as server:
        answer = server.call("Drain", pb.DrainRequest(wait_s=patience_s, undo=undo), pb.DrainResponse)
    if as_json:
        typer.echo(json.dumps(plain(answer)))
    elif undo:
        typer.echo("callers are let in again")
    else:
        still = "1 request is" if answer.requests == 1 else f"{answer.requests} requests are"
        inside = f"{still} still inside" if answer.requests else "nobody is inside"
        typer.echo(f"drained: new callers are refused, {inside}; `shoal drain --undo` lets them in again")
    return FAILED if answer.requests and patience_s else 0
