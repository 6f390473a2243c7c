"""`shoal certs`: certificates to try things with, and what is in one."""

import json
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.clock import MonotonicClock
from shoal_server.security.certificates import certificates_of
from shoal_server.security.description import described
from shoal_server.security.development import LOCAL_HOSTS, development_files, spiffe_of
from shoal_server.security.material import UnusableMaterial

ADMIN: Final = "admin"
_CLIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_RESERVED: Final = frozenset({"ca", "server"})
_clock: Final = MonotonicClock()


def command() -> None:
    """Make certificates to try things with, or show one.

    Example:
        shoal certs dev certs >> shoal.toml
        shoal certs show certs/admin.pem
    """


group = typer.Typer(callback=command)


@group.command(no_args_is_help=False)
def dev(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")] = Path("certs"),
    *,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME", help=f"A name or address of the server beside {', '.join(LOCAL_HOSTS)}."
        ),
    ] = None,
    clients: Annotated[
        list[str] | None,
        typer.Option("--client", metavar="NAME", help=f"A client beside {ADMIN}; `caller` if none is named."),
    ] = None,
    days: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=3650, help="How long they are valid.")] = 90,
    force: Annotated[bool, typer.Option("--force", help="Overwrite those that there are, with a new CA.")] = False,
) -> int:
    """Make a development CA, and certificates of a server and clients.

    A server takes them while it runs. Prints what belongs into shoal.toml; only `admin` may change what is served. The
    keys are readable by you alone, and not meant for production.

    \b
    Example:
        shoal certs dev certs >> shoal.toml
        shoal certs dev --host inference.internal --client checkout
        shoal certs dev --force
    """  # noqa: D301 - \b keeps the lines of the example
    others = [name for name in clients or () if name != ADMIN] or ["caller"]
    names = list(dict.fromkeys((ADMIN, *others)))
    for name in names:
        if not _CLIENT.fullmatch(name) or name.lower() in _RESERVED:
            raise Failure(f"--client {name!r:.80} is no name: wanted letters, digits, `-`, `_`, `.`", MISUSED)
    try:
        files = development_files(hosts or (), names, days, _clock.epoch())
    except ValueError as error:
        raise Failure(f"--host {error}", MISUSED) from error
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise Failure(f"{folder} has {', '.join(there[:3])} already; --force overwrites, with a new CA", MISUSED)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            _write(folder / name, content)
    except OSError as error:
        raise Failure(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    typer.echo(_configuration(folder, names))
    return 0


@group.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of certificates, PEM.")],
) -> int:
    """Show whose certificate is in a file, as `admin.identities` names it.

    \b
    Example:
        shoal certs show certs/admin.pem
    """  # noqa: D301
    try:
        found = [described(certificate, _clock.epoch()) for certificate in certificates_of(file)]
    except UnusableMaterial as error:
        raise Failure(str(error), MISUSED) from error
    for number, one in enumerate(found):
        rows = (
            ("identity", one.identity or "none: it names nobody"),
            ("names", ", ".join(one.names) or "none"),
            ("subject", one.subject or "none"),
            ("issuer", one.issuer),
            ("valid", one.validity),
            ("CA", "yes" if one.is_authority else "no"),
            ("serial", one.serial),
            ("SHA-256", one.sha256),
        )
        typer.echo("\n".join([*([""] if number else []), *(f"{name:10}{value}" for name, value in rows)]))
    return 0


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, so that a server that looks at it never sees half of it."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600 if path.suffix == ".key" else 0o644)
    beside.write_bytes(content)
    beside.replace(path)


def _configuration(folder: Path, clients: list[str]) -> str:
    def quoted(name: str) -> str:
        return json.dumps(str(folder / name), ensure_ascii=False)

    somebody = folder / clients[-1]
    return f"""\
# Made by `shoal certs dev`. Next: `shoal serve` where this file is, then `shoal models` in another terminal.
# As somebody else: `shoal models --tls-certificate {somebody}.pem --tls-key {somebody}.key`.
[tls]
certificate = {quoted("server.pem")}
key = {quoted("server.key")}
client_ca = {quoted("ca.pem")}

[admin]
identities = [{json.dumps(spiffe_of(ADMIN))}]

[client]
ca = {quoted("ca.pem")}
certificate = {quoted(f"{ADMIN}.pem")}
key = {quoted(f"{ADMIN}.key")}"""
