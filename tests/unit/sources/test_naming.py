import pytest

from shoal_server.sources.naming import is_hidden, name_fault, name_from, nearest, printable, version_number


@pytest.mark.parametrize("name", ["m", "resnet-50_v1.5", "Größe", "两", "a b", "1", "x" * 255, "model.onnx", "a..b"])
def test_an_ordinary_folder_name_is_a_model_name(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it is empty"),
        (" ", "it begins or ends with a space"),
        (" m", "it begins or ends with a space"),
        ("m\n", "it begins or ends with a space"),
        ("a\nb", "it has characters that cannot be printed"),
        ("a\x00b", "it has characters that cannot be printed"),
        ("a\u202eb", "it has characters that cannot be printed"),
        ("\udcff", "it has characters that cannot be printed"),
        ("../x", "it has a slash"),
        ("a/b", "it has a slash"),
        ("a\\b", "it has a slash"),
        (".", "it begins with a dot"),
        ("..", "it begins with a dot"),
        (".git", "it begins with a dot"),
        ("x" * 256, "it is longer than 255 bytes"),
        ("ü" * 128, "it is longer than 255 bytes"),
        ("x" * 10_000, "it is longer than 255 bytes"),
    ],
)
def test_a_name_that_is_no_single_printable_folder_is_refused_with_the_reason(name: str, fault: str) -> None:
    assert name_fault(name) == fault


@pytest.mark.parametrize(("name", "hidden"), [(".git", True), ("..data", True), ("lost+found", True), ("m", False)])
def test_hidden_folders_and_the_volumes_own_are_passed_over(name: str, *, hidden: bool) -> None:
    assert is_hidden(name) is hidden


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("42", 42),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("99999999999999999999", None),
        ("0", None),
        ("01", None),
        ("-1", None),
        ("+1", None),
        ("1_000", None),
        ("1.0", None),
        ("1 ", None),
        ("1\n", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("v1", None),
        ("", None),
    ],
)
def test_a_version_is_a_decimal_above_zero_without_leading_zeros(name: str, version: int | None) -> None:
    assert version_number(name) == version


@pytest.mark.parametrize(
    ("stem", "name"),
    [("bert", "bert"), ("", "model"), ("..", "model"), (" a\nb ", "a_b"), (".x", "x"), ("ü" * 200, "ü" * 127)],
)
def test_any_file_name_gives_an_allowed_model_name(stem: str, name: str) -> None:
    assert name_from(stem) == name
    assert name_fault(name) is None


def test_a_near_miss_is_named_and_a_far_one_is_not() -> None:
    assert nearest("max_batch_sise", ["max_batch_size", "name"]) == "; did you mean 'max_batch_size'?"
    assert nearest("zebra", ["max_batch_size", "name"]) == ""


def test_text_from_a_file_is_shown_bounded_and_without_control_characters() -> None:
    assert printable("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert printable("x" * 300) == "x" * 200 + "..."
