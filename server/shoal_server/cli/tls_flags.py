"""How the commands that call a server show who they are and look who answers: four flags, as one parameter."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Final

import typer

_PANEL: Final = "Certificates"
_FLAGS: Final = {
    "tls_ca": ("FILE", "The CA of the server's certificate, PEM; by default client.ca of shoal.toml."),
    "tls_certificate": ("FILE", "Your own certificate, PEM; by default client.certificate."),
    "tls_key": ("FILE", "The key of your certificate, PEM; by default client.key."),
    "tls_server_name": ("NAME", "The name in the server's certificate where it is not that of the address."),
}


@dataclass(frozen=True, slots=True)
class TlsFlags:
    """What was typed; None where nothing was, and the settings' ``client`` section decides."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None


UNSAID: Final = TlsFlags()


def with_tls(command: Callable[..., int]) -> Callable[..., int]:
    """Return a command that takes the four flags and hands them to ``command`` as its parameter ``tls``."""

    @wraps(command)
    def flagged(**given: Any) -> int:  # noqa: ANN401 - what the command takes
        said = {name.removeprefix("tls_"): given.pop(name) for name in _FLAGS}
        return command(**given, tls=TlsFlags(**said))

    signature = inspect.signature(command, eval_str=True)
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option("--" + name.replace("_", "-"), metavar=metavar, help=about, rich_help_panel=_PANEL),
            ],
        )
        for name, (metavar, about) in _FLAGS.items()
    ]
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "tls"
    ]
    flagged.__signature__ = signature.replace(parameters=[*kept, *flags])  # type: ignore[attr-defined] # what typer reads
    flagged.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *flags)}
    del flagged.__wrapped__  # typer would look through it, at parameters that nobody can give
    return flagged
