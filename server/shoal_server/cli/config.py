"""`shoal config`: what is in force, and why."""

import json

import typer

from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.flags import with_settings
from shoal_server.config import OPTIONS, Configuration


def _config(configuration: Configuration) -> int:
    """Print the configuration in force and its origins.

    It comes in the form of shoal.toml, so it is also a start for one of your own.

    Example:
        shoal config --config staging.toml
        SHOAL_GRACE_S=5 shoal config --batching-max-rows 32
    """
    models = OPTIONS["models"]
    path = configuration.settings.models
    if configuration.origins.get(models.key) == models.flag and not path.exists():
        raise Failure(f"{path} does not exist: PATH is that of the models, as for `shoal serve`", MISUSED)
    section = ""
    for option in OPTIONS.values():
        if option.section != section:
            section = option.section
            typer.echo(f"[{section}]\n")
        name = option.key.rpartition(".")[2]
        origin = configuration.origins.get(option.key, "default")
        value = _toml(configuration.value(option.key))
        typer.echo(f"# {option.why}\n# {option.wanted}\n{name} = {value}  # {origin}\n")
    return 0


def _toml(value: object) -> str:
    # A JSON string is a basic string of TOML (toml.io, v1.0.0) but for DEL, which no path here holds.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value) if isinstance(value, int | float) else json.dumps(str(value or ""), ensure_ascii=False)


command = with_settings(_config)
