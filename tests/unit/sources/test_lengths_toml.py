"""`[lengths]` of a model.toml: what it says becomes options, and what is wrong is named."""

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.options import Generate, LengthOptions, VariableInput
from shoal_server.sources.lengths_toml import length_options
from shoal_server.sources.model_toml import parse_options

WHOLE = """
[lengths]
max_length = 512
max_cells = 4096
edges = [64, 16, 512, 16]

[lengths.inputs]
ids = { axis = 1, pad = 3 }
mask = { axis = 1, generate = "mask" }
length = { generate = "length" }
"a.b" = { axis = 2, pad = -0.5 }
words = { axis = 1, pad = "[PAD]" }

[lengths.outputs]
states = { axis = 1 }
"""
IDS = "[lengths.inputs]\nids = { axis = 1 }\n"


def read(text: str) -> LengthOptions:
    table = parse_options(text, "m/model.toml").lengths
    assert table is not None
    return length_options(table, "m/model.toml")


def test_all_that_can_be_said_is_taken() -> None:
    assert read(WHOLE) == LengthOptions(
        {
            "ids": VariableInput(1, 3),
            "mask": VariableInput(1, 0, Generate.MASK),
            "length": VariableInput(0, 0, Generate.LENGTH),
            "a.b": VariableInput(2, -0.5),
            "words": VariableInput(1, "[PAD]"),
        },
        {"states": 1},
        512,
        4096,
        (16, 64, 512),
    )


def test_little_has_to_be_said() -> None:
    assert read(IDS) == LengthOptions({"ids": VariableInput(1)})
    assert read("[lengths]\nedges = [8, 4]\n" + IDS).max_length == 8, "the largest edge is the longest"
    assert parse_options("", "m/model.toml").lengths is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[lengths]\nmax_length = 3", "'lengths.inputs' is missing, wanted a table of the inputs that depend on the"),
        ("[lengths]\ninputs = {}", "'lengths.inputs' is {}, wanted a table of the inputs that depend on the length"),
        ("[lengths]\ninputs = 3", "'lengths.inputs' is 3, wanted a table of the inputs that depend on the length"),
        ("[lengths.inputs]\nids = 1", "'lengths.inputs.ids' is 1, wanted a table of the inputs that depend on the len"),
        ("[lengths.inputs]\nids = { axis = 0 }", "'lengths.inputs.ids.axis' is 0, wanted the number of the dimension"),
        ("[lengths.inputs]\nids = { axis = '1' }", "'lengths.inputs.ids.axis' is '1', wanted the number of the dimens"),
        (
            "[lengths.inputs]\nids = { axis = 32 }",
            "'lengths.inputs.ids.axis' is 32, wanted the number of the dimension",
        ),
        (
            "[lengths.inputs]\nids = { pad = 1 }",
            "'lengths.inputs.ids.axis' is missing, wanted the axis that is the len",
        ),
        ("[lengths.inputs]\nids = { axis = 1, pad = [] }", "'lengths.inputs.ids.pad' is [], wanted what fills it up"),
        (
            "[lengths.inputs]\nids = { axis = 1, generate = 'ones' }",
            "'lengths.inputs.ids.generate' is 'ones', wanted 'mask' (1 for what was sent, 0 for padding) or 'length'",
        ),
        (
            "[lengths.inputs]\nids = { axis = 1, generate = 'length' }",
            "'lengths.inputs.ids.axis' is 1, wanted none, as each row has one number",
        ),
        ("[lengths.inputs]\nids = { axes = 1 }", "unknown key 'lengths.inputs.ids.axes'; did you mean 'axis'?"),
        ("[lengths.inputs]\npad = { padding = 1 }", "unknown key 'lengths.inputs.pad.padding'; did you mean 'pad'?"),
        (
            IDS + "[lengths.outputs]\ny = { pad = 1, axis = 1 }",
            "unknown key 'lengths.outputs.y.pad', wanted one of axis",
        ),
        (IDS + "[lengths.outputs]\ny = {}", "'lengths.outputs.y.axis' is missing, wanted the number of the dimension"),
        ("[lengths]\nmax_cell = 3\n" + IDS, "unknown key 'lengths.max_cell'; did you mean 'max_cells'?"),
        ("[lengths]\nmax_cells = 0\n" + IDS, "'lengths.max_cells' is 0, wanted rows times length of a padded batch"),
        ("[lengths]\nedges = []\n" + IDS, "'lengths.edges' is [], wanted a list of lengths >= 1"),
        ("[lengths]\nedges = [8, 0]\n" + IDS, "'lengths.edges[1]' is 0, wanted a list of lengths >= 1"),
        (
            "[lengths]\nedges = [8, 20]\nmax_length = 10\n" + IDS,
            "'lengths.edges' has 20, wanted at most 10, the max_length",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_is_wanted(text: str, complaint: str) -> None:
    with pytest.raises(LoadFailed) as raised:
        read(text)
    assert str(raised.value).startswith(f"m/model.toml: {complaint}")
