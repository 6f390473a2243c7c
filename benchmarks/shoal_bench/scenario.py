"""A scenario: what is sent, how, and for how long. TOML, read strictly: a key that means nothing is an error."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from shoal_bench.arrivals import Burst, Constant, Poisson, Trace
from shoal_bench.order import Closed, Load

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_BUILT_IN: Final = files("shoal_bench") / "scenarios"
_KINDS: Final[Mapping[str, type[Any]]] = {
    "closed": Closed,
    "constant": Constant,
    "poisson": Poisson,
    "burst": Burst,
}
_MOST_ARRIVALS: Final = 10_000_000


class ScenarioError(Exception):
    """A scenario or a trace that cannot be used; says which, where and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A kind of request: which model, how many rows, how often in proportion (``weight``).

    ``lengths``: the smallest and largest size of free dimensions but the first; ``variants``: how many different
    payloads are made up.
    """

    model: str
    rows: int = 1
    weight: float = 1.0
    lengths: tuple[int, int] = (16, 16)
    variants: int = 8

    def __post_init__(self) -> None:
        if self.rows < 1 or self.variants < 1 or not self.weight > 0:
            raise ValueError("rows and variants are at least 1, weight is positive")
        sizes = list(self.lengths)  # as they come from a file: of any number
        if len(sizes) != 2 or not 1 <= sizes[0] <= sizes[1]:  # noqa: PLR2004 - a pair
            raise ValueError("lengths are the smallest and the largest size, from 1 on")


@dataclass(frozen=True, slots=True)
class Measuring:
    """How a run is measured; times in seconds but for ``in_time_ms``.

    A run ends when its last three windows agree within ``tolerance`` (unless ``until_limit``), or after ``limit_s``,
    the warm-up not counted. ``in_time_ms``: up to which latency a call counts as goodput.
    """

    processes: int = 2
    warm_up_s: float = 2.0
    window_s: float = 2.0
    limit_s: float = 30.0
    until_limit: bool = False
    tolerance: float = 0.10
    timeout_s: float = 5.0
    in_time_ms: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= 64:  # noqa: PLR2004 - a bound against a slip
            raise ValueError("processes is 1 to 64")
        if min(self.window_s, self.limit_s, self.timeout_s, self.in_time_ms, self.tolerance) <= 0 or self.warm_up_s < 0:
            raise ValueError("times and tolerance are positive; only warm_up_s may be 0")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run needs but the target.

    ``of_capacity``: the rate is this many times the capacity, measured first by a closed loop of
    ``capacity_concurrency`` callers. ``swap_every_s``: how often the first request's model is swapped; 0 for never.
    """

    name: str
    summary: str
    load: Load
    requests: tuple[Request, ...]
    measuring: Measuring = Measuring()
    of_capacity: float = 0.0
    capacity_concurrency: int = 64
    swap_every_s: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it calls."""
        return tuple(dict.fromkeys(request.model for request in self.requests))

    def for_model(self, model: str) -> "Scenario":
        """Return the same with one model in place of all."""
        return replace(self, requests=tuple(replace(request, model=model) for request in self.requests))

    def to_json(self) -> dict[str, Any]:
        """Return it as a record holds it; a trace's arrivals are counted, not repeated."""
        whole = asdict(self)
        whole["load"] = {"kind": type(self.load).__name__.lower(), **whole["load"]}
        if isinstance(self.load, Trace):
            whole["load"]["offsets_s"] = f"{len(self.load.offsets_s)} arrivals"
        return whole


def built_in() -> Mapping[str, str]:
    """Return the scenarios that come with the package, by name, with their summaries."""
    names = sorted(file.name.removesuffix(".toml") for file in _BUILT_IN.iterdir() if file.name.endswith(".toml"))
    return {name: load_scenario(name).summary for name in names}


def load_scenario(name: str) -> Scenario:
    """Return a scenario by its name, or from a file whose name ends in ``.toml``.

    Raises:
        ScenarioError: there is none, or it is wrong.
    """
    try:
        text = Path(name).read_text() if name.endswith(".toml") else (_BUILT_IN / f"{name}.toml").read_text()
    except OSError as error:
        known = ", ".join(sorted(file.name.removesuffix(".toml") for file in _BUILT_IN.iterdir()))
        raise ScenarioError(f"scenario '{name}' cannot be read ({error.strerror}); there are {known}") from error
    return parse(text, Path(name).stem)


def parse(text: str, name: str) -> Scenario:
    """Return the scenario of a TOML text.

    Raises:
        ScenarioError: it is wrong.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"scenario '{name}' is no TOML: {error}") from error
    known = {"summary", "load", "request", "measure", "of_capacity", "capacity_concurrency", "swap_every_s"}
    _refuse_unknown(table, known, f"scenario '{name}'")
    requests = table.pop("request", [])
    load = table.pop("load", None)
    measure = table.pop("measure", {})
    if not isinstance(requests, list) or not requests or not isinstance(load, dict):
        raise ScenarioError(f"scenario '{name}' needs a table [load] and at least one [[request]]")
    kind = load.pop("kind", None)
    if kind not in _KINDS:
        raise ScenarioError(f"scenario '{name}', [load]: kind is one of {', '.join(_KINDS)}, got {kind!r}")
    whole = {
        "name": name,
        "load": _make(_KINDS[kind], load, f"scenario '{name}', [load]"),
        "requests": tuple(_make(Request, one, f"scenario '{name}', [[request]]") for one in requests),
        "measuring": _make(Measuring, measure, f"scenario '{name}', [measure]"),
        **table,
    }
    return _make(Scenario, whole, f"scenario '{name}'")


def read_trace(path: Path) -> Trace:
    """Return the arrivals of a file: one offset in seconds per line, ascending; blank lines and ``#`` are skipped.

    Raises:
        ScenarioError: it cannot be read, or a line is no offset.
    """
    arrivals: list[float] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                text = line.partition("#")[0].strip()
                if text:
                    arrivals.append(_offset(text, path, number))
                if len(arrivals) > _MOST_ARRIVALS:
                    raise ScenarioError(f"{path} has more than {_MOST_ARRIVALS} arrivals")
        return Trace(tuple(arrivals))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ScenarioError(f"trace {path}: {error}") from error


def _offset(text: str, path: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScenarioError(f"{path}, line {number}: {text!r:.40} is no offset in seconds") from None


def _make(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """Make a dataclass from a table; whole numbers will do for others, lists for tuples."""
    known = {field.name: field for field in fields(kind)}
    _refuse_unknown(table, set(known), where)
    values: dict[str, object] = {}
    for name, value in table.items():
        wanted = known[name].type
        if wanted in (int, float, str, bool) and not (
            type(value) is wanted or (wanted is float and type(value) is int)
        ):
            raise ScenarioError(f"{where}: {name} is a {wanted.__name__}, got {value!r:.60}")
        values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{where}: {error}") from error


def _refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ScenarioError(f"{where}: {unknown[0]!r} means nothing here; there are {', '.join(sorted(known))}")
