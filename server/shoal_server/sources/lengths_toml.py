"""``[lengths]`` of a model.toml: which inputs vary in length, and how they share a batch nevertheless."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from shoal_server.errors import LoadFailed
from shoal_server.options import Generate, LengthOptions, VariableInput
from shoal_server.sources.toml_table import Rows, Table
from shoal_server.tensors.spec import MAX_RANK


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("no scalar")  # noqa: TRY004 - what pydantic takes for a finding
    return value


Axis = Annotated[int, Field(ge=1, lt=MAX_RANK)]
Pad = Annotated[Any, AfterValidator(_scalar)]


class VariableInputTable(Table):
    """``[lengths.inputs.NAME]``: one input that depends on the length. A description says what is wanted."""

    axis: Axis | None = Field(None, description="the number of the dimension that is the length, 1 to 31")
    pad: Pad = Field(0, description="what fills it up: a number, a text or a truth value (default 0)")
    generate: Literal["mask", "length"] | None = Field(
        None,
        description="'mask' (1 for what was sent, 0 for padding) or 'length' (one number for each row), to be made up "
        "where the caller does not send it",
    )


class VariableOutputTable(Table):
    """``[lengths.outputs.NAME]``: one output that is cut to its request's length."""

    axis: Axis = Field(description="the number of the dimension that is the length, 1 to 31")


class LengthsTable(Table):
    """``[lengths]``: how requests of different lengths share a batch. A description says what is wanted."""

    inputs: Annotated[dict[str, VariableInputTable], Field(min_length=1)] = Field(
        description="a table of the inputs that depend on the length, by name, such as ids = { axis = 1, pad = 0 }"
    )
    outputs: dict[str, VariableOutputTable] = Field(
        {}, description="a table of the outputs to be cut, by name, such as states = { axis = 1 } (default: none)"
    )
    max_length: Rows | None = Field(
        None, description="the longest that is taken, a whole number >= 1 (default: the largest edge, or any)"
    )
    max_cells: Rows | None = Field(
        None, description="rows times length of a padded batch, a whole number >= 1 (default: as many as still pay)"
    )
    edges: Annotated[list[Rows], Field(min_length=1)] | None = Field(
        None, description="a list of lengths >= 1 that the model runs at, others are padded (default: any length)"
    )


NAMED: Final[Mapping[str, type[Table]]] = {"inputs": VariableInputTable, "outputs": VariableOutputTable}
"""The options of a table in which each key is a name of the model's."""


def length_options(table: LengthsTable, shown: str) -> LengthOptions:
    """Return the table as options; ``shown`` is what to call the file.

    Raises:
        LoadFailed: its options contradict each other.
    """
    edges = tuple(sorted(set(table.edges or ())))
    max_length = table.max_length or (edges[-1] if edges else 0)
    if edges and edges[-1] > max_length:
        raise LoadFailed(f"{shown}: 'lengths.edges' has {edges[-1]}, wanted at most {max_length}, the max_length")
    return LengthOptions(
        {name: _variable(f"{shown}: 'lengths.inputs.{name}", said) for name, said in table.inputs.items()},
        {name: said.axis for name, said in table.outputs.items()},
        max_length,
        table.max_cells or 0,
        edges,
    )


def _variable(what: str, said: VariableInputTable) -> VariableInput:
    generate = Generate(said.generate) if said.generate else None
    if (said.axis is None) != (generate is Generate.LENGTH):
        wanted = "none, as each row has one number" if generate is Generate.LENGTH else "the axis that is the length"
        raise LoadFailed(f"{what}.axis' is {'missing' if said.axis is None else said.axis}, wanted {wanted}")
    return VariableInput(said.axis or 0, said.pad, generate)
