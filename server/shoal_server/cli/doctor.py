"""`shoal doctor`: what is installed here, and what would make a server slow."""

import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

import typer

from shoal_server.cli.failure import FAILED
from shoal_server.cli.table import print_table
from shoal_server.cli.version import version_of

LOST: Final = "they carry about a twentieth of the calls that they could, `make native` builds it where there is cargo"

_MODULES: Final = {
    "grpcio": "grpc",
    "protobuf": "google.protobuf",
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "uvloop": "uvloop",
    "shoal-native": "shoal_native",
}
_LUXURIES: Final = frozenset({"uvloop", "shoal-native"})


@dataclass(frozen=True, slots=True)
class Findings:
    """This machine and installation. ``broken`` says why a package cannot be imported; ``cpus`` is the quota.

    ``providers`` and ``cpus`` are empty and 0 where what would tell them is broken.
    """

    broken: Mapping[str, str]
    interpreter: str = "CPython"
    is_debug_build: bool = False
    protobuf_implementation: str = "upb"
    providers: tuple[str, ...] = ()
    cpus: float = 0.0

    @property
    def fatal(self) -> dict[str, str]:
        """Of what is broken, that without which no server can run."""
        return {package: problem for package, problem in self.broken.items() if package not in _LUXURIES}

    @property
    def transports(self) -> list[str]:
        """What can carry calls here; the first is what servers use unless they are told otherwise."""
        packages = {"native": ("shoal-native", "grpcio"), "grpcio": ("grpcio",)}
        return [name for name, needed in packages.items() if not self.broken.keys() & needed]

    def slow(self) -> list[str]:
        """Return what would cost speed, a sentence each."""
        complaints = []
        if "uvloop" in self.broken:
            complaints.append(
                "uvloop is not there: asyncio's own event loop spends half as much CPU again on each call"
            )
        if "shoal-native" in self.broken:
            complaints.append(f"shoal-native is not there, so servers run on grpcio: {LOST}")
        if self.is_debug_build:
            complaints.append(
                "this Python is a debug build: everything but the models' own operators takes much longer"
            )
        if self.interpreter != "CPython":
            complaints.append(f"this Python is {self.interpreter}: gRPC and numpy are made for CPython")
        if self.protobuf_implementation == "python":
            complaints.append("protobuf runs in pure Python: reading a message takes many times longer than with upb")
        if 0 < self.cpus < 1:
            complaints.append(
                f"the CPU quota is {self.cpus:g}: the kernel pauses the process, callers see that as spikes"
            )
        return complaints


def command() -> int:
    """Tell what is installed here and what would be slow.

    The exit code is 1 if no server could run here.

    Example:
        shoal doctor
    """
    findings = examine()
    rows = [
        ("python", f"{platform.python_version()} ({findings.interpreter}, {platform.machine()})"),
        ("shoal", version_of("shoal")),
        *((package, findings.broken.get(package) or version_of(package)) for package in _MODULES),
        ("transports", ", ".join(findings.transports) or "none"),
        ("ORT providers", ", ".join(findings.providers) or "none"),
        ("CPU quota", f"{findings.cpus:g} CPUs" if findings.cpus else "unknown"),
    ]
    print_table(("WHAT", "FOUND"), rows)
    typer.echo()
    for package, problem in findings.fatal.items():
        typer.echo(f"- no server can run here: {package} {problem}")
    for complaint in findings.slow():
        typer.echo(f"- {complaint}")
    if not findings.broken and not findings.slow():
        typer.echo("- nothing here would make a server slow")
    return FAILED if findings.fatal else 0


def examine() -> Findings:
    """Look at this machine and installation."""
    broken = {}
    for package, module in _MODULES.items():
        try:
            import_module(module)
        except ImportError as error:
            broken[package] = f"cannot be imported ({error})"
    has = _MODULES.keys() - broken.keys()
    return Findings(
        broken,
        interpreter=platform.python_implementation(),
        is_debug_build=bool(sysconfig.get_config_var("Py_DEBUG")) or hasattr(sys, "gettotalrefcount"),
        protobuf_implementation=(
            import_module("google.protobuf.internal.api_implementation").Type() if "protobuf" in has else ""
        ),
        providers=tuple(import_module("onnxruntime").get_available_providers()) if "onnxruntime" in has else (),
        # The server's own packages can be imported only where theirs can.
        cpus=import_module("shoal_server.runtime").available_cpus() if has >= _MODULES.keys() - _LUXURIES else 0.0,
    )
