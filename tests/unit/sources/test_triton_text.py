import pytest

from shoal_server.errors import LoadFailed
from shoal_server.sources.triton_text import parse

FILE = "m/config.pbtxt"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "max_batch_sise: 3",
            "line 1, column 1: ModelConfig has no field 'max_batch_sise'; did you mean 'max_batch_size'?",
        ),
        (
            'name: "a"\n  input [ { nam: "x" } ]',
            "line 2, column 13: ModelInput has no field 'nam'; did you mean 'name'?",
        ),
        ("zebra: 1", "line 1, column 1: ModelConfig has no field 'zebra'"),
        (
            "optimization { cuda { graps: true } }",
            "line 1, column 23: ModelOptimizationPolicy.Cuda has no field 'graps'; did you mean 'graphs'?",
        ),
        ("input { data_type: FP32 }", "line 1, column 20: DataType has no value 'FP32'; did you mean 'TYPE_FP32'?"),
        ('input [ { name: "x" ', 'line 1, column 17: Expected "}"; found nothing more'),
        ("max_batch_size: 8.5", "line 1, column 17: Couldn't parse integer; found 8.5"),
        ('max_batch_size: "8"', "line 1, column 17: Couldn't parse integer; found " + '"8"'),
        ("max_batch_size: 99999999999", "line 1, column 17: Value out of range: 99999999999; found 99999999999"),
        ("name: foo", "line 1, column 7: Expected string; found foo"),
        ("max_batch_size 8", 'line 1, column 16: Expected ":"; found 8'),
        ("input { dims: [1 2] }", 'line 1, column 18: Expected ","; found 2'),
        ("name:", "line 1, column 6: Expected string; found nothing more"),
        ("# a comment\n}", "line 2, column 1: Expected identifier or number; found }"),
        ('name: "abc\n', 'line 1, column 7: String missing ending quote; found "abc'),
        ("\x00", "line 1, column 1: Expected identifier or number; found \\x00"),
    ],
)
def test_an_error_names_line_and_column_and_what_was_found(text: str, complaint: str) -> None:
    with pytest.raises(LoadFailed) as raised:
        parse(text, FILE)
    assert str(raised.value) == f"{FILE}: {complaint}"


def test_a_field_that_is_given_twice_is_an_error() -> None:
    with pytest.raises(LoadFailed, match=r'line 1, column 17: .* should not have multiple "name" fields; found "b"$'):
        parse('name: "a" name: "b"', FILE)


def test_an_enum_value_beyond_its_range_is_an_error() -> None:
    with pytest.raises(LoadFailed, match=r"^m/config\.pbtxt: Value out of range: 9999999999$"):
        parse("input { data_type: 9999999999 }", FILE)


def test_two_schedulers_at_once_are_an_error() -> None:
    with pytest.raises(LoadFailed, match=r'another member of oneof "scheduling_choice"'):
        parse("dynamic_batching {} sequence_batching {}", FILE)


def test_a_text_that_is_no_utf8_within_a_string_is_an_error() -> None:
    with pytest.raises(LoadFailed, match=r"line 1, column .*Couldn't parse string"):
        parse('name: "\\xff"', FILE)


@pytest.mark.parametrize(
    ("text", "said", "rows"),
    [
        ("", False, 0),
        ("name: 'max_batch_size: 1'", False, 0),
        ("# max_batch_size: 0", False, 0),
        ("max_batch_size: 0", True, 0),
        ("max_batch_size : 0x0;", True, 0),
        ("input { name: 'x' } max_batch_size:\n0", True, 0),
        ("max_batch_size: 8", True, 8),
        ("max_batch_size: -1", True, -1),
    ],
)
def test_whether_max_batch_size_is_said_is_known_even_for_zero(text: str, *, said: bool, rows: int) -> None:
    parsed = parse(text, FILE)
    assert (parsed.says_max_batch_size, parsed.message.max_batch_size) == (said, rows)


def test_a_complaint_about_a_huge_token_is_bounded() -> None:
    with pytest.raises(LoadFailed) as raised:
        parse("max_batch_size: " + "9" * 5000, FILE)
    assert len(str(raised.value)) < 600
