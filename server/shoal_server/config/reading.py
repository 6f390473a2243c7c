"""Settings: read once, at the start, from (weakest first) defaults, `shoal.toml`, `SHOAL_*` variables and flags.

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
from typing import Annotated, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from shoal_server.options import AdmissionOptions, BatchingOptions, RuntimeOptions

FILE_NAME: Final = "shoal.toml"
PREFIX: Final = "SHOAL_"
_FILE_VARIABLE: Final = "SHOAL_CONFIG"

_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_ADDRESS_FORM: Final = "HOST:PORT, such as 127.0.0.1:8001 or [::1]:8001 (port 0 takes any free one)"
_MAX_PORT: Final = 65535

# Kubernetes tells every pod about a service called `shoal` or `shoal-...` in variables of these names.
_SERVICE_LINK: Final = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|=\w+://.*))",
    re.ASCII | re.DOTALL,
)

# What people try first, where the spelling alone would suggest something else.
_MEANT: Final = {"port": "address", "host": "address", "bind": "address", "timeout": "batching.default_timeout_s"}


class ConfigError(Exception):
    """The configuration cannot be used; ``str()`` is a sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts; shown beside its range."""

    name: str


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 host keeps its brackets.

    Raises:
        ValueError: it has another form, or the port is above 65535.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"an address is {_ADDRESS_FORM}, got {address!r}")
    return match["host"], int(match["port"])


def _check_address(address: str) -> str:
    split_address(address)
    return address


_ADMISSION: Final = AdmissionOptions()
_BATCHING: Final = BatchingOptions()
_RUNTIME: Final = RuntimeOptions()

_Requests = Annotated[int, Field(ge=1, le=1 << 30), Unit("requests")]
_Rows = Annotated[int, Field(ge=1, le=1 << 40), Unit("rows")]
_Bytes = Annotated[int, Field(ge=1, le=1 << 50), Unit("bytes")]
_MessageBytes = Annotated[int, Field(ge=1024, le=2**31 - 1), Unit("bytes")]
_MetadataBytes = Annotated[int, Field(ge=1024, le=2**20), Unit("bytes")]
_Batches = Annotated[int, Field(ge=0, le=1024), Unit("batches")]
_Threads = Annotated[int, Field(ge=0, le=1024), Unit("threads")]
_Timeout = Annotated[float, Field(gt=0, le=86_400), Unit("seconds")]
_Grace = Annotated[float, Field(ge=0, le=3600), Unit("seconds")]
_Delay = Annotated[float, Field(ge=0, le=60_000), Unit("milliseconds")]
_Address = Annotated[str, AfterValidator(_check_address)]
_Path = Annotated[Path, Field(strict=False)]


class _Section(BaseModel):
    # Strict: `slots = true` is a mistake and no 1. Text from variables and flags is parsed before it comes here.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class LimitSettings(_Section):
    """Bounds that keep the server's memory independent of its load; what is beyond them is refused at the door."""

    max_requests: _Requests = _ADMISSION.max_requests
    """All requests that may be inside the server at once, over all models."""
    max_rows: _Rows = _ADMISSION.max_rows
    """All rows of these requests together."""
    max_bytes: _Bytes = _ADMISSION.max_bytes
    """All bytes of these requests together, as they came over the wire."""
    max_message_bytes: _MessageBytes = 64 << 20
    """One message, in or out: a larger request is refused before it is read whole."""
    max_metadata_bytes: _MetadataBytes = 16 << 10
    """The headers of one call, which are read before anything can be refused."""

    def options(self) -> AdmissionOptions:
        """Return what the admission gate takes."""
        return AdmissionOptions(self.max_requests, self.max_rows, self.max_bytes)


class BatchingSettings(_Section):
    """How requests form batches, for every model whose own configuration says nothing else."""

    max_rows: _Rows = _BATCHING.max_rows
    """Rows per batch: more help throughput, fewer help the slowest request."""
    delay_ms: _Delay = _BATCHING.delay_s * 1000
    """How long an incomplete batch waits for more rows; 0 starts it as soon as a thread is free."""
    default_timeout_s: _Timeout = _BATCHING.default_timeout_s
    """How long a request may wait whose caller set no deadline, so that none waits for ever."""
    execution_limit_s: _Timeout = _BATCHING.execution_limit_s
    """When a batch that still runs is given up: its requests fail and its thread is replaced."""

    def options(self) -> BatchingOptions:
        """Return how a model is batched unless its own configuration says otherwise."""
        return BatchingOptions(
            max_rows=self.max_rows,
            delay_s=self.delay_ms / 1000,
            default_timeout_s=self.default_timeout_s,
            execution_limit_s=self.execution_limit_s,
        )


class RuntimeSettings(_Section):
    """Which threads compute."""

    slots: _Batches = 0
    """Batches that run at once, over all models; 0 follows the CPU quota."""
    load_threads: _Threads = 0
    """Models that load at once; 0 follows the CPU quota."""
    intra_op_threads: _Threads = _RUNTIME.intra_op_threads
    """Threads within one batch, for models whose own configuration says nothing else; 0 lets the server choose."""

    def options(self) -> RuntimeOptions:
        """Return how a model runs unless its own configuration says otherwise."""
        return RuntimeOptions(intra_op_threads=self.intra_op_threads)


class Settings(_Section):
    """All that can be set for a server."""

    models: _Path = Path("models")
    """A folder that holds NAME/VERSION/model.onnx for each model, or one .onnx file."""
    address: _Address = "127.0.0.1:8001"
    """Where to listen; other machines can connect only if you say so, as by 0.0.0.0:8001."""
    transport: Literal["auto", "grpcio"] = "auto"
    """What carries the calls; auto takes the fastest that is installed."""
    grace_s: _Grace = 30.0
    """How long requests under way may take to finish once the server is told to stop."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least grave message that is logged."""
    limits: LimitSettings = LimitSettings()
    batching: BatchingSettings = BatchingSettings()
    runtime: RuntimeSettings = RuntimeSettings()


@dataclass(frozen=True, slots=True)
class Option:
    """One key of the settings, for people: ``key`` as in ``limits.max_rows``, ``wanted`` its type and range."""

    key: str
    default: object
    wanted: str
    why: str

    @property
    def section(self) -> str:
        """The table of the file that it stands in; empty for the top."""
        return self.key.rpartition(".")[0]

    @property
    def flag(self) -> str:
        """The flag of the command line; the models are its argument."""
        return "PATH" if self.key == "models" else "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.key.replace(".", "__").upper()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force; ``origins`` says which file, variable or flag a key has its value from, if from any."""

    settings: Settings
    origins: Mapping[str, str]

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
    for found in (_from_file(file), _from_variables(environ), _from_flags(flags)):
        for key, value, origin in found:
            values[key], origins[key] = value, origin
    nested: dict[str, object] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        table = nested.setdefault(section, {}) if section else nested
        assert isinstance(table, dict)
        table[name] = value
    try:
        return Configuration(Settings.model_validate(nested), MappingProxyType(origins))
    except ValidationError as error:
        wrong = dict.fromkeys(".".join(str(part) for part in item["loc"]) for item in error.errors())
        complaints = [f"{origins[key]}: {key} must be {OPTIONS[key].wanted}, got {values[key]!r}" for key in wrong]
        raise ConfigError("; ".join(complaints)) from error


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
        if name in _SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {name} is a section: write [{name}] and its keys below, got {value!r}")
            for key, item in value.items():
                yield _known(f"{name}.{key}", str(path)), item, str(path)
        else:
            key = _known(name, str(path))
            # As everywhere else a path in a file starts from where the file is.
            yield key, path.parent / value if key == "models" and isinstance(value, str) else value, str(path)


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
    meant = next(iter(difflib.get_close_matches(key, _SECTIONS, n=1) if "." not in key else ()), _nearest(key))
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
    if kind not in (int, float):
        return text
    try:
        number: int | float = kind(text)
    except ValueError:
        return text
    return number


def _wanted(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if kind is str:
        return _ADDRESS_FORM
    if kind is Path:
        return "a path"
    bounds = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    unit = next((f" of {item.name}" for item in field.metadata if isinstance(item, Unit)), "")
    low = f"above {bounds['gt']}" if "gt" in bounds else f"from {bounds['ge']}"
    high = f" to {bounds['le']}" if "le" in bounds else " up"
    return f"{'a whole number' if kind is int else 'a number'}{unit} {low}{high}"


def _options(model: type[BaseModel], prefix: str = "") -> Iterator[Option]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _options(field.annotation, f"{name}.")
        else:
            yield Option(prefix + name, field.default, _wanted(field), field.description or "")


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({option.key: option for option in _options(Settings)})
"""Every key, in the order of the file."""

_SECTIONS: Final = frozenset(option.section for option in OPTIONS.values()) - {""}
