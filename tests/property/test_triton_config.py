"""Whatever stands in a configuration file, reading it ends in settings or in LoadFailed."""

import string
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.inference.model_config_pb2 import ModelConfig
from shoal_server.errors import LoadFailed
from shoal_server.sources import FolderSource
from shoal_server.sources.model_toml import parse_options
from shoal_server.sources.settings import Settings
from shoal_server.sources.tree import Tree
from shoal_server.sources.triton_config import settings_of
from shoal_server.sources.triton_text import parse

NOWHERE = Path("/nonexistent/repository")


def read(text: str) -> Settings | str:
    try:
        return settings_of(parse(text, "config.pbtxt"), "config.pbtxt", "m", Tree(NOWHERE), NOWHERE / "m")
    except LoadFailed as error:
        return str(error)


def numbers(field: FieldDescriptor) -> st.SearchStrategy[str]:
    edges = [0, 1, -1, 2, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]
    if field.enum_type is not None:
        return st.sampled_from([*field.enum_type.values_by_name, "0", "99", "-1", "9999999999"])
    return st.sampled_from([*map(str, edges), "true", "false", "1.5", "1e40", "0x10"])


def words() -> st.SearchStrategy[str]:
    names = ["m", "x", "model.onnx", "../x", "", "intra_op_thread_count", "onnxruntime", "a\\000b", "\\377", "ü"]
    return st.sampled_from([f'"{name}"' for name in names])


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[str]:
    if field.message_type is not None:
        return bodies(field.message_type, depth - 1).map(lambda body: f"{{ {body} }}")
    scalar = words() if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else numbers(field)
    return scalar | st.lists(scalar, max_size=3).map(lambda items: f"[{', '.join(items)}]")


def bodies(message: Descriptor, depth: int = 4) -> st.SearchStrategy[str]:
    """Texts with the fields of a message, by and large right."""
    fields = list(message.fields)
    if depth == 0 or not fields:
        return st.just("")
    one = st.sampled_from(fields).flatmap(
        lambda field: values(field, depth).map(
            lambda value: f"{field.name} {'' if value.startswith('{') else ':'} {value}"
        )
    )
    return st.lists(one, max_size=4).map(" ".join)


@given(bodies(ModelConfig.DESCRIPTOR))
def test_any_fields_with_any_values_give_settings_or_a_reason(text: str) -> None:
    result = read(text)
    if isinstance(result, Settings):
        assert ModelConfig.FromString(result.config).name in ("", "m")
        assert result.batching.max_rows >= 1
        assert result.batching.delay_s >= 0
        assert result.batching.default_timeout_s > 0
        assert result.runtime.instances >= 0
        assert all(warning.startswith("config.pbtxt: '") for warning in result.warnings)
    else:
        assert result.isprintable()


TOKENS = st.sampled_from(
    [*"{}[]<>:;,\"'\\#\n \t.-+", "name", "input", "dims", "1", "0x", "TYPE_FP32", "max_batch_size"]
)


@given(st.lists(TOKENS).map("".join) | st.text())
@settings(max_examples=300)
def test_any_text_gives_settings_or_a_printable_reason(text: str) -> None:
    result = read(text)
    assert isinstance(result, Settings) or result.isprintable()


@given(st.sampled_from(["config.pbtxt", "model.toml"]), st.binary())
def test_any_bytes_in_a_configuration_serve_the_model_or_list_it_with_a_reason(file_name: str, content: bytes) -> None:
    with TemporaryDirectory() as repository:
        folder = Path(repository) / "m"
        (folder / "1").mkdir(parents=True)
        (folder / "1/model.onnx").write_bytes(b"no model")
        (folder / file_name).write_bytes(content)
        what = FolderSource(Path(repository)).scan()["m"]
    if isinstance(what, LoadFailed):
        assert file_name in str(what)
        assert str(what).isprintable()
    else:
        assert what.wanted == (1,)


SECTIONS = st.sampled_from(["[batching]", "[runtime]", "[versions]", "[[batching]]", "[batching.max_rows]", "[x]"])
KEYS = st.sampled_from(["mode", "max_rows", "delay_ms", "allowed_rows", "latest", "specific", "all", "instances", "é"])
VALUES = st.sampled_from(
    ["1", "0", "-1", "1.5", "nan", "inf", "'auto'", "true", "[1]", "[]", "{}", "[[1]]", "1979-05-27"]
)
LINES = SECTIONS | st.tuples(KEYS, VALUES).map(" = ".join)


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(string.printable))
def test_any_toml_gives_options_or_a_reason_that_names_the_file(text: str) -> None:
    try:
        reason = ""
        parse_options(text, "m/model.toml")
    except LoadFailed as error:
        reason = str(error)
    assert reason == "" or reason.startswith("m/model.toml")
