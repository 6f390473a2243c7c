"""`shoal models load|swap|unload|rollback`: operations on the versions of a model."""

from typing import Annotated

import typer

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.models.operation import Operation, change, perform
from shoal_server.cli.models.options import PATIENCE_S, DryRun, Expect, Json, Key, Model, Patience, Version
from shoal_server.cli.remote import Address
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls


@with_tls
def swap(  # noqa: PLR0913 - one for each flag
    model: Model,
    version: Version,
    *,
    keep_warm_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="How long the replaced version stays loaded for a rollback; with 0 it is unloaded before the command "
            "ends. By default as the server is configured.",
        ),
    ] = None,
    allow_signature_change: Annotated[
        bool,
        typer.Option(
            "--allow-signature-change",
            help="Take a version whose inputs or outputs would break callers of the one that answers.",
        ),
    ] = False,
    expect: Expect = None,
    dry_run: DryRun = False,
    key: Key = "",
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Patience = PATIENCE_S,
    as_json: Json = False,
) -> int:
    """Let a version answer in the place of the one that does.

    It is loaded and warmed up beside the one that answers; then calls reach the new one, and the old one leaves after
    its last. No call fails. If the new version is no good, the old one serves on and the command says why.

    The exit code is 0 when it is done or was so already, 1 if it failed, 2 if the command is wrong, 130 after Ctrl-C,
    which ends the command and not the operation.

    Example:
        shoal models swap digits 2
        shoal models swap digits 2 --dry-run
        shoal models swap digits 2 --expect 1 --keep-warm-s 600
        shoal models swap digits 2 --json | jq -c '.result.memory // empty'
    """
    wanted = change(expect=expect, dry_run=dry_run, key=key)
    request = pb.SwapVersionRequest(
        model=model,
        version=version,
        change=wanted,
        keep_warm_s=keep_warm_s,
        allow_signature_change=allow_signature_change,
    )
    operation = Operation("SwapVersion", model, f"swap {model} to version {version}", request, wanted)
    return perform(operation, address, timeout_s, tls, as_json=as_json)


@with_tls
def load(  # noqa: PLR0913 - one for each flag
    model: Model,
    version: Version,
    *,
    expect: Expect = None,
    dry_run: DryRun = False,
    key: Key = "",
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Patience = PATIENCE_S,
    as_json: Json = False,
) -> int:
    """Load a version beside the one that answers.

    It is reached by its number, or by a label, and by no call without a version.

    Example:
        shoal models load digits 3
        shoal models label digits canary 3
        shoal infer digits --version canary --input @image.npy
    """
    wanted = change(expect=expect, dry_run=dry_run, key=key)
    request = pb.LoadVersionRequest(model=model, version=version, change=wanted)
    operation = Operation("LoadVersion", model, f"load version {version} of {model}", request, wanted)
    return perform(operation, address, timeout_s, tls, as_json=as_json)


@with_tls
def unload(  # noqa: PLR0913 - one for each flag
    model: Model,
    version: Version,
    *,
    force: Annotated[bool, typer.Option("--force", help="Unload it even if it is the version that answers.")] = False,
    expect: Expect = None,
    dry_run: DryRun = False,
    key: Key = "",
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Patience = PATIENCE_S,
    as_json: Json = False,
) -> int:
    """Withdraw a version and give its memory back.

    It leaves after its last request, and its labels with it; new calls for it are told UNAVAILABLE.

    Example:
        shoal models unload digits 1
        shoal models unload digits 2 --force
    """
    wanted = change(expect=expect, dry_run=dry_run, key=key)
    request = pb.UnloadVersionRequest(model=model, version=version, change=wanted, force=force)
    operation = Operation("UnloadVersion", model, f"unload version {version} of {model}", request, wanted)
    return perform(operation, address, timeout_s, tls, as_json=as_json)


@with_tls
def rollback(  # noqa: PLR0913 - one for each flag
    model: Model,
    *,
    expect: Expect = None,
    dry_run: DryRun = False,
    key: Key = "",
    address: Address = None,
    tls: TlsFlags = UNSAID,
    timeout_s: Patience = PATIENCE_S,
    as_json: Json = False,
) -> int:
    """Let the version answer again that the last swap replaced.

    At once while it is kept warm (`shoal models` tells until when); afterwards it is loaded first.

    Example:
        shoal models rollback digits
        shoal models rollback digits --expect 2
    """
    wanted = change(expect=expect, dry_run=dry_run, key=key)
    request = pb.RollbackRequest(model=model, change=wanted)
    operation = Operation("Rollback", model, f"roll {model} back", request, wanted)
    return perform(operation, address, timeout_s, tls, as_json=as_json)
