"""Our own options for one model: the ``model.toml`` in its folder, stronger than config.pbtxt, option by option."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.options import (
    MOST_PRIORITY_LEVELS,
    AnswerOptions,
    BatchingMode,
    BatchingOptions,
    BatchInvariance,
    halfway,
)
from shoal_server.sources.lengths_toml import NAMED, LengthsTable, length_options
from shoal_server.sources.naming import nearest, printable
from shoal_server.sources.settings import OPTIONS_FILE, Settings
from shoal_server.sources.toml_table import Rows, Table
from shoal_server.sources.tree import Tree

_LIMIT_BYTES: Final = 1 << 20
_MOST_COMPLAINTS: Final = 5

Version = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BatchingTable(Table):
    """``[batching]``: how requests to the model are joined. A description says what is wanted, and the default."""

    mode: Literal["auto", "always", "never"] | None = Field(
        None,
        description="'auto' (join where the server finds it safe; default), 'always' (rows are independent) or 'never'",
    )
    max_rows: Rows | None = Field(
        None,
        description="rows in a batch, >= 1 (default 64, or fewer where more do not pay)",
    )
    delay_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="milliseconds that an incomplete batch may wait for more rows, >= 0 (default 0, or where it pays)",
    )
    allowed_rows: Annotated[list[Rows], Field(min_length=1)] | None = Field(
        None, description="a list of batch sizes >= 1 that the model runs at, others are padded (default: any size)"
    )
    preferred_rows: list[Rows] | None = Field(
        None, description="a list of batch sizes >= 1 that do not wait for delay_ms to pass (default: none)"
    )
    max_queued_requests: Rows | None = Field(
        None, description="requests that may wait, a whole number >= 1 (default 8192)"
    )
    max_queued_rows: Rows | None = Field(None, description="rows that may wait, a whole number >= 1 (default 1048576)")
    max_queued_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = Field(
        None, description="bytes of inputs that may wait, a whole number >= 1 (default 1073741824)"
    )
    default_timeout_s: Positive | None = Field(
        None, description="seconds that a request without a deadline may wait, > 0 (default 60)"
    )
    queue_limit_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="seconds that any request may wait, >= 0 (default 0: as long as its deadline allows)"
    )
    max_timeout_s: Positive | None = Field(
        None, description="seconds that a request may ask to wait by its parameter 'timeout', > 0 (default 600)"
    )
    priority_levels: Annotated[int, Field(ge=1, le=MOST_PRIORITY_LEVELS)] | None = Field(
        None, description="levels of importance that requests may have, 1 to 64 (default 1: all are alike)"
    )
    default_priority: Annotated[int, Field(ge=1, le=MOST_PRIORITY_LEVELS)] | None = Field(
        None, description="the level of a request that names none, 1 (goes first) to priority_levels (default: halfway)"
    )
    aging_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="milliseconds by which one level goes before the next, >= 0 (default 100)"
    )
    adaptive_limit: bool | None = Field(
        None, description="true or false: whether requests inside are bounded by what they take, too (default false)"
    )
    execution_limit_s: Positive | None = Field(
        None, description="seconds after which a running batch is given up, > 0 (default 60)"
    )


class RuntimeTable(Table):
    """``[runtime]``: how the model is run. A description says what is wanted, and the default."""

    instances: Annotated[int, Field(ge=0, le=4096)] | None = Field(
        None, description="batches that may run at once, 0 to 4096 (default 0: as many as the server has slots)"
    )
    intra_op_threads: Annotated[int, Field(ge=0, le=4096)] | None = Field(
        None, description="threads within one operator, 0 to 4096 (default 0: the server chooses)"
    )
    tuning_budget_s: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        None, description="seconds for which a load may measure what is best, 0 to 3600 (default 2)"
    )


class AnswersTable(Table):
    """``[answers]``: what is promised of answers. A description says what is wanted, and the default."""

    nan_guard: bool | None = Field(
        None, description="true or false: whether NaN or infinity out of finite inputs is refused (default false)"
    )
    batch_invariant: Literal["never", "auto", "always"] | None = Field(
        None,
        description="'never' (default), 'auto' (batches have one size, unless answers turn out to be bit for bit the "
        "same in any) or 'always' (batches have one size)",
    )
    share_in_flight: bool | None = Field(
        None, description="true or false: whether equal requests under way at once are computed once (default false)"
    )
    cache_bytes: Annotated[int, Field(ge=0, le=1 << 50)] | None = Field(
        None, description="bytes of memory for answers that are given again, >= 0 (default 0: none are)"
    )
    cache_ttl_s: Positive | None = Field(None, description="seconds for which an answer is given again (default 60)")


class VersionsTable(Table):
    """``[versions]``: which versions are served, by one of the three. A description says what is wanted."""

    latest: Annotated[int, Field(ge=1, le=1 << 30)] | None = Field(
        None, description="how many of the newest are served, a whole number >= 1 (default 1)"
    )
    specific: Annotated[list[Version], Field(min_length=1)] | None = Field(
        None, description="a list of the versions to serve, whole numbers >= 1"
    )
    all: Literal[True] | None = Field(None, description="true: every version is served")


class ModelTable(Table):
    """The whole file; every table and every option may be left out."""

    batching: BatchingTable = Field(BatchingTable(), description="a table, [batching]")
    runtime: RuntimeTable = Field(RuntimeTable(), description="a table, [runtime]")
    answers: AnswersTable = Field(AnswersTable(), description="a table, [answers]")
    versions: VersionsTable = Field(VersionsTable(), description="a table, [versions]")
    lengths: LengthsTable | None = Field(None, description="a table, [lengths]")


TABLES: Final[Mapping[str, type[Table]]] = {
    "batching": BatchingTable,
    "runtime": RuntimeTable,
    "answers": AnswersTable,
    "versions": VersionsTable,
    "lengths": LengthsTable,
}


def apply_options(tree: Tree, folder: Path, settings: Settings) -> Settings:
    """Return the settings with what the ``model.toml`` in a model's folder says instead.

    Raises:
        LoadFailed: it cannot be read, has an unknown key or a wrong value, or its options contradict each other.
    """
    path = folder / OPTIONS_FILE
    shown = tree.name(path)
    table = parse_options(tree.read_text(path, _LIMIT_BYTES), shown)
    return replace(
        settings,
        policy=_policy(table.versions, shown) or settings.policy,
        batching=replace(
            _batching(table.batching, settings.batching, shown),
            lengths=None if table.lengths is None else length_options(table.lengths, shown),
        ),
        runtime=replace(settings.runtime, **table.runtime.model_dump(exclude_none=True)),
        answers=_answers(table.answers, settings.answers),
    )


def parse_options(text: str, shown: str) -> ModelTable:
    """Parse the text of a model.toml; ``shown`` is what to call the file.

    Raises:
        LoadFailed: it is not TOML, has an unknown key, or a value is not what is wanted; the text names key and value.
    """
    try:
        return ModelTable.model_validate(tomllib.loads(text))
    except ValidationError as error:
        details = error.errors(include_url=False)[:_MOST_COMPLAINTS]
        raise LoadFailed(f"{shown}: " + "; ".join(_complaint(detail) for detail in details)) from error
    except RecursionError as error:
        raise LoadFailed(f"{shown}: values are nested too deeply") from error
    except ValueError as error:
        # tomllib's own errors are ValueErrors too, and name line and column.
        raise LoadFailed(f"{shown} is not TOML: {error!s:.200}") from error


def _complaint(detail: ErrorDetails) -> str:
    location = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    fields, name = _place(location)
    if detail["type"] == "extra_forbidden":
        hint = nearest(str(location[-1]), fields) or f", wanted one of {', '.join(fields)}"
        return f"unknown key '{printable(key)}'{hint}"
    wanted = fields[name].description
    if detail["type"] == "missing":
        return f"'{printable(key)}' is missing, wanted {wanted}"
    return f"'{printable(key)}' is {detail['input']!r:.80}, wanted {wanted}"


def _place(location: Sequence[int | str]) -> tuple[Mapping[str, FieldInfo], str]:
    """Return the options of the table that something stands in, and which of them it is or belongs to."""
    if len(location) == 1:
        return ModelTable.model_fields, str(location[0])
    within = location[1:]
    table: type[Table] = TABLES[str(location[0])]
    if table is LengthsTable and len(within) > 2 and within[0] in NAMED:  # noqa: PLR2004 - below a name of the owner's
        table, within = NAMED[str(within[0])], within[2:]
    return table.model_fields, str(within[0])


def _policy(table: VersionsTable, shown: str) -> VersionPolicy | None:
    said = table.model_dump(exclude_none=True)
    if len(said) > 1:
        raise LoadFailed(f"{shown}: [versions] has {' and '.join(said)}, wanted one of them")
    if table.specific is not None:
        return VersionPolicy(latest=0, specific=tuple(sorted(set(table.specific))))
    if table.all:
        return VersionPolicy(latest=0)
    return VersionPolicy(latest=table.latest) if table.latest is not None else None


def _answers(table: AnswersTable, under: AnswerOptions) -> AnswerOptions:
    said = table.model_dump(exclude_none=True)
    if "batch_invariant" in said:
        said["batch_invariant"] = BatchInvariance(said["batch_invariant"])
    return replace(under, **said)


def _batching(table: BatchingTable, under: BatchingOptions, shown: str) -> BatchingOptions:
    """Lay the table's options over those that hold without it."""
    said = table.model_dump(exclude_none=True)
    tunes_rows = under.tunes_rows and "max_rows" not in said
    tunes_delay = under.tunes_delay and "delay_ms" not in said
    if "mode" in said:
        said["mode"] = BatchingMode(said["mode"])
    if "delay_ms" in said:
        said["delay_s"] = said.pop("delay_ms") / 1e3
    if "aging_ms" in said:
        said["aging_s"] = said.pop("aging_ms") / 1e3
    _complete_priorities(said, under, shown)
    for key in ("allowed_rows", "preferred_rows"):
        if key in said:
            said[key] = tuple(sorted(set(said[key])))
    options = replace(under, tunes_rows=tunes_rows, tunes_delay=tunes_delay, **said)
    if options.allowed_rows and options.max_rows > options.allowed_rows[-1]:
        if table.max_rows is not None:
            raise LoadFailed(
                f"{shown}: 'batching.max_rows' is {options.max_rows}, wanted at most {options.allowed_rows[-1]}, the "
                f"largest of 'batching.allowed_rows'"
            )
        options = replace(options, max_rows=options.allowed_rows[-1])
    if table.preferred_rows and options.preferred_rows[-1] > options.max_rows:
        raise LoadFailed(
            f"{shown}: 'batching.preferred_rows' has {options.preferred_rows[-1]}, wanted at most {options.max_rows}, "
            f"the rows in a batch"
        )
    return replace(options, preferred_rows=tuple(rows for rows in options.preferred_rows if rows <= options.max_rows))


def _complete_priorities(said: dict[str, Any], under: BatchingOptions, shown: str) -> None:
    levels = said.get("priority_levels", under.priority_levels)
    if "priority_levels" in said:
        said.setdefault("default_priority", halfway(levels))
    if said.get("default_priority", 1) > levels:
        raise LoadFailed(
            f"{shown}: 'batching.default_priority' is {said['default_priority']}, wanted at most {levels}, the "
            f"'batching.priority_levels'"
        )
