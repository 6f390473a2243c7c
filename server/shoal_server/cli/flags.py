"""A flag for every setting, made from the settings themselves."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.config import OPTIONS, ConfigError, Configuration, Option, load

_CONFIG_HELP: Final = "The configuration file; by default shoal.toml in the working directory, if it is there."


def with_settings(act: Callable[[Configuration], int]) -> Callable[..., int]:
    """Return a command that takes the settings as flags and hands the configuration in force to ``act``."""

    def command(**given: str | bool | None) -> int:
        file = given.pop("config")
        said = {key: value for key in OPTIONS if (value := given[_parameter(key)]) is not None}
        flags = {key: value if isinstance(value, str) else str(value) for key, value in said.items()}
        try:
            configuration = load(flags, file=Path(file) if isinstance(file, str) else None)
        except ConfigError as error:
            raise Failure(str(error), MISUSED) from error
        return act(configuration)

    hints: dict[str, Any] = {_parameter(key): _flag(option) for key, option in OPTIONS.items()}
    hints["config"] = Annotated[str | None, typer.Option("--config", metavar="FILE", help=_CONFIG_HELP)]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in hints.items()
    ]
    command.__doc__ = act.__doc__
    command.__annotations__ = hints
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what inspect looks for
    return command


def _parameter(key: str) -> str:
    return key.replace(".", "__")


def _flag(option: Option) -> object:
    """Return the annotation from which typer makes the flag, or for the models the argument."""
    # No square brackets: on a terminal, rich takes them for markup.
    about = f"{option.why} Takes {option.wanted}; {option.shown_default} by default."
    panel = f"Settings: {option.section}" if option.section else "Settings"
    if isinstance(option.default, bool):
        names = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        return Annotated[bool | None, typer.Option(names, help=about, rich_help_panel=panel)]
    if option.key == "models":
        return Annotated[str | None, typer.Argument(metavar="PATH", help=about)]
    return Annotated[str | None, typer.Option(option.flag, help=about, metavar="VALUE", rich_help_panel=panel)]
