"""`shoal models label`: names that stand for versions."""

import json
from typing import Annotated

import typer

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.models.admin import Admin
from shoal_server.cli.models.operation import change
from shoal_server.cli.models.options import DryRun, Expect, Key, Model, version_number
from shoal_server.cli.plain import plain
from shoal_server.cli.remote import Address, Timeout
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls


@with_tls
def label(  # noqa: PLR0913 - one for each flag
    model: Model,
    name: Annotated[str, typer.Argument(metavar="LABEL", help="Letters, digits, `-`, `_`, `.`; a letter first.")],
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", parser=version_number, help="The version that it is to stand for."),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the label away.")] = False,
    expect: Expect = None,
    dry_run: DryRun = False,
    key: Key = "",
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Timeout = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> int:
    """Let a label stand for a version, or for none.

    A request may name the label in the place of a version's number. A version that is kept for a rollback then stays
    loaded, until it is unloaded. `stable` and `previous` follow the swaps and cannot be set.

    Example:
        shoal models label digits canary 3
        shoal infer digits --version canary --input @image.npy
        shoal models label digits canary --remove
    """
    if remove == (version is not None):
        raise Failure("say either the VERSION that the label is to stand for, or --remove", MISUSED)
    request = pb.SetLabelRequest(
        model=model, label=name, version=version or 0, change=change(expect=expect, dry_run=dry_run, key=key)
    )
    with Admin(address, timeout_s, tls) as server:
        answer = server.call("SetLabel", request, pb.SetLabelResponse, model)
    if as_json:
        typer.echo(json.dumps(plain(answer)))
    else:
        typer.echo(_told(request, answer))
    return 0


def _told(request: pb.SetLabelRequest, answer: pb.SetLabelResponse) -> str:
    wanted = f"stands for version {request.version}" if request.version else "stands for no version"
    subject = f"{request.model}: label {request.label}"
    previous = answer.previous_version
    before = f" (before: version {previous})" if previous not in {0, request.version} else ""
    if request.change.dry_run:
        return f"dry run: nothing was changed; {subject} would be such that it {wanted}{before}"
    if not answer.changed:
        return f"{subject} {wanted} already"
    forgotten = "" if answer.recorded else "; not recorded, a restarted server does not know it"
    return f"{subject} {wanted} now{before}{forgotten}"
