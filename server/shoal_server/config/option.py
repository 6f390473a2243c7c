"""Each setting as people meet it: its key, flag and variable, and what it takes."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shoal_server.config import settings
from shoal_server.config.settings import Form, Unit

PREFIX: Final = "SHOAL_"


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
    def is_path(self) -> bool:
        """Whether it is a path, which in a file starts from where the file is."""
        return self.wanted == "a path"

    @property
    def shown_default(self) -> str:
        """The default as people read it."""
        if self.default in (None, "", ()):
            return "none"
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)

    @property
    def flag(self) -> str:
        """The flag of the command line; the models are its argument."""
        return "PATH" if self.key == "models" else "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.key.replace(".", "__").upper()


def _wanted(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if kind is bool:
        return "true or false"
    form = next((item.text for item in field.metadata if isinstance(item, Form)), None)
    if form is None and kind is str:
        form = "text"
    if form is not None:
        return form
    if kind in (Path, Path | None):
        return "a path"
    if kind == tuple[str, ...]:
        form = next((item.name for item in field.metadata if isinstance(item, Unit)), "names")
        return f"a list of {form}; with commas between them in a variable or flag"
    bounds = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    unit = next((f" of {item.name}" for item in field.metadata if isinstance(item, Unit)), "")
    low = f"above {bounds['gt']}" if "gt" in bounds else f"from {bounds['ge']}"
    high = f" to {bounds['le']}" if "le" in bounds else " up"
    return f"{'a whole number' if kind is int else 'a number'}{unit} {low}{high}"


def _sentences() -> Mapping[tuple[str, str], str]:
    """Return the sentence below each setting, by class and name.

    It is what pydantic's ``use_attribute_docstrings`` finds; but that reads and parses the file anew for each class,
    which took a twelfth of a server's start.
    """
    try:
        source = inspect.getsource(settings)
    except OSError:  # some keep only what is compiled; then nothing is explained
        return {}
    found: dict[tuple[str, str], str] = {}
    for table in (item for item in ast.parse(source).body if isinstance(item, ast.ClassDef)):
        for setting, below in pairwise(table.body):
            match setting, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(sentence))):
                    found[table.name, name] = sentence
    return found


def _options(model: type[BaseModel], why: Mapping[tuple[str, str], str], prefix: str = "") -> Iterator[Option]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _options(field.annotation, why, f"{name}.")
        else:
            yield Option(prefix + name, field.default, _wanted(field), why.get((model.__name__, name), ""))


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {option.key: option for option in _options(settings.Settings, _sentences())}
)
"""Every key, in the order of the file."""

SECTIONS: Final = frozenset(option.section for option in OPTIONS.values()) - {""}
