"""Settings: read once, at the start, from (weakest first) defaults, `OTEL_*`, `shoal.toml`, `SHOAL_*` and flags.

This is the only module that reads the environment. A key that nobody knows is an error wherever it stands, and so is a
value out of its range; the message names the key, the value, what is wanted, and the file, variable or flag.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from shoal_server.config.callers import LineError
from shoal_server.config.option import OPTIONS, PREFIX, SECTIONS
from shoal_server.config.otel import PREFIX as OTEL_PREFIX
from shoal_server.config.otel import from_otel
from shoal_server.config.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FILE_NAME: Final = "shoal.toml"
_FILE_VARIABLE: Final = "SHOAL_CONFIG"

# Kubernetes tells every pod about a service called `shoal` or `shoal-...` in variables of these names.
_SERVICE_LINK: Final = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|=\w+://.*))",
    re.ASCII | re.DOTALL,
)

# What people try first, where the spelling alone would suggest something else.
_MEANT: Final = {"port": "address", "host": "address", "bind": "address", "timeout": "batching.default_timeout_s"}


_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class ConfigError(Exception):
    """The configuration cannot be used; ``str()`` is a sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force; ``origins`` says which file, variable or flag a key has its value from, if from any.

    ``file`` is the configuration file, empty where none says anything; ``remarks`` are sentences about what was
    ignored, for the log.
    """

    settings: Settings
    origins: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    file: str = ""

    def value(self, key: str) -> object:
        """Return what a key, such as ``limits.max_rows``, is set to."""
        value: object = self.settings
        for part in key.split("."):
            value = getattr(value, part)
        return value


def load(
    flags: Mapping[str, str], *, file: Path | None = None, environ: Mapping[str, str] | None = None
) -> Configuration:
    """Return the configuration in force.

    ``flags`` are values by key. ``file`` must exist if it is given (here or as SHOAL_CONFIG); without it `shoal.toml`
    is read from the working directory if it is there. ``environ`` stands in for the process's own environment.

    Raises:
        ConfigError: a key is unknown, a value is wrong, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 - here, and nowhere else
    if file is None and environ.get(_FILE_VARIABLE):
        file = Path(environ[_FILE_VARIABLE])
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    otel, remarks = from_otel(environ)
    for found in (otel, _from_file(file), _from_variables(environ), _from_flags(flags)):
        for key, value, origin in found:
            values[key], origins[key] = value, origin
    if not origins.get("telemetry.otlp_endpoint", OTEL_PREFIX).startswith(OTEL_PREFIX):
        # An endpoint that we were told is stronger than OpenTelemetry's for one signal alone.
        for key in ("telemetry.otlp_metrics_endpoint", "telemetry.otlp_traces_endpoint"):
            if origins.get(key, "").startswith(OTEL_PREFIX):
                del values[key], origins[key]
    read = str(file or FILE_NAME)
    nested: dict[str, object] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        table = nested.setdefault(section, {}) if section else nested
        assert isinstance(table, dict)
        table[name] = value
    try:
        return Configuration(
            Settings.model_validate(nested),
            MappingProxyType(origins),
            tuple(remarks),
            read if read in origins.values() else "",
        )
    except ValidationError as error:
        wrong = {".".join(str(part) for part in item["loc"]): _why(item) for item in error.errors()}
        complaints = [
            f"{origins[key]}: {key} must be {OPTIONS[key].wanted}, got {values[key]!r}{why}"
            for key, why in wrong.items()
        ]
        raise ConfigError("; ".join(complaints)) from error


def _why(error: "ErrorDetails") -> str:
    """Return what is wrong with one line of several, to be appended to what is wanted of them all."""
    why = error.get("ctx", {}).get("error")
    return f": {why}" if isinstance(why, LineError) else ""


_Found = Iterator[tuple[str, object, str]]
"""Key, value, and where that stands."""


def _from_file(file: Path | None) -> _Found:
    path = file or Path(FILE_NAME)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is None:
            return
        raise ConfigError(f"the configuration file {path} does not exist") from None
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration file {path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from error
    for name, value in content.items():
        if name in SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {name} is a section: write [{name}] and its keys below, got {value!r}")
            for key, item in value.items():
                known = _known(f"{name}.{key}", str(path))
                yield known, _placed(known, item, path.parent), str(path)
        else:
            known = _known(name, str(path))
            yield known, _placed(known, value, path.parent), str(path)


def _placed(key: str, value: object, folder: Path) -> object:
    """Return the value with a path starting, as everywhere else, from where the file is."""
    return folder / value if OPTIONS[key].is_path and isinstance(value, str) and value else value


def _from_variables(environ: Mapping[str, str]) -> _Found:
    variables = {option.variable: key for key, option in OPTIONS.items()}
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and name != _FILE_VARIABLE and not _SERVICE_LINK.fullmatch(f"{name}={text}"):
            if name not in variables:
                meant = _nearest(name.removeprefix(PREFIX).lower().replace("__", "."))
                hint = f"; did you mean {OPTIONS[meant].variable}?" if meant else ""
                raise ConfigError(f"the variable {name} sets nothing that exists{hint}")
            yield variables[name], _parsed(variables[name], text), name


def _from_flags(flags: Mapping[str, str]) -> _Found:
    for key, text in flags.items():
        yield key, _parsed(key, text), OPTIONS[key].flag


def _known(key: str, origin: str) -> str:
    if key in OPTIONS:
        return key
    meant = next(iter(difflib.get_close_matches(key, SECTIONS, n=1) if "." not in key else ()), _nearest(key))
    raise ConfigError(f"{origin}: unknown key {key}" + (f"; did you mean {meant}?" if meant else ""))


def _nearest(key: str) -> str | None:
    """Return the option that was probably meant, if any."""
    if key in _MEANT:
        return _MEANT[key]
    name = key.rpartition(".")[2]
    # The right name in the wrong section, or in none, is nearer than any other name.
    same = [option for option in OPTIONS if option.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key, same, n=1, cutoff=0) or difflib.get_close_matches(key, OPTIONS, n=1)
    return near[0] if near else None


def _parsed(key: str, text: str) -> object:
    """Return what the text means; the text itself where it is no number, for the check to complain about."""
    kind = type(OPTIONS[key].default)
    if kind is bool:
        return _TRUTHS.get(text.lower(), text)
    if kind not in (int, float):
        return text
    try:
        number: int | float = kind(text)
    except ValueError:
        return text
    return number
