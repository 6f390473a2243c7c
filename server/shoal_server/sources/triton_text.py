"""The text of a config.pbtxt, parsed; what is wrong with it is said with line and column."""

import re
from typing import Final, NamedTuple

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from shoal.inference.model_config_pb2 import DESCRIPTOR, ModelConfig
from shoal_server.errors import LoadFailed
from shoal_server.sources.naming import nearest, printable

_NO_FIELD: Final = re.compile(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<name>.*)"\.', re.DOTALL)
_NO_VALUE: Final = re.compile(r'Enum type "(?P<type>[\w.]+)" has no value named (?P<name>.*)\.', re.DOTALL)
_FOUND: Final = re.compile(r"( but found: |, got |(?<=integer): |(?<=float): |(?<=quote): ).*", re.DOTALL)
_UNCLOSED: Final = re.compile(r'Expected "[}>]"\.')
_TOKEN: Final = re.compile(r"\s*(?P<token>\"[^\"]*\"?|'[^']*'?|[\w.+-]+|\S)")


class TritonText(NamedTuple):
    """A configuration and what the message cannot tell: whether the text says a max_batch_size at all, be it 0."""

    message: ModelConfig
    says_max_batch_size: bool


def parse(text: str, shown: str) -> TritonText:
    """Parse the text of a config.pbtxt; ``shown`` is what to call the file.

    Raises:
        LoadFailed: it is not a ModelConfig in protobuf's text format; the text says where and what was found.
    """
    try:
        message = text_format.Parse(text, ModelConfig())
    except (text_format.ParseError, ValueError) as error:
        raise LoadFailed(f"{shown}: {_explain(error, text)}") from error
    return TritonText(message, message.max_batch_size != 0 or _says_zero(text))


def _says_zero(text: str) -> bool:
    """Whether a text that parses into max_batch_size 0 says so: else a 1 that was there before survives its merge."""
    return "max_batch_size" in text and text_format.Merge(text, ModelConfig(max_batch_size=1)).max_batch_size == 0


def _explain(error: text_format.ParseError | ValueError, text: str) -> str:
    line, column = (error.GetLine(), error.GetColumn()) if isinstance(error, text_format.ParseError) else (None, None)
    if line is None or column is None:
        # So for the number of an enum's value, which is not held against its range before it is stored.
        return printable(str(error))
    place = f"line {line}, column {column}: "
    lines = text.split("\n")
    whole_line = lines[line - 1] if line <= len(lines) else ""
    # The library puts the position before its reason, and sometimes the line; at the end of the text that is empty.
    reason = str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{whole_line}': ").removeprefix("'': ")
    no_field, no_value = _NO_FIELD.fullmatch(reason), _NO_VALUE.fullmatch(reason)
    if no_field:
        fields = _message_type(no_field["type"]).fields_by_name
        known = printable(no_field["type"].removeprefix("inference."))
        return f"{place}{known} has no field '{printable(no_field['name'])}'{nearest(no_field['name'], fields)}"
    if no_value:
        values = _enum_type(no_value["type"]).values_by_name
        known = printable(no_value["type"].removeprefix("inference."))
        return f"{place}{known} has no value '{printable(no_value['name'])}'{nearest(no_value['name'], values)}"
    # A block that is not closed is noticed at the end of the text and blamed on the last word before it.
    found = None if _UNCLOSED.fullmatch(reason) else _TOKEN.match(whole_line, column - 1)
    reason = _FOUND.sub("", reason).rstrip(".")
    return f"{place}{printable(reason)}; found {printable(found['token']) if found else 'nothing more'}"


def _message_type(full_name: str) -> Descriptor:
    return DESCRIPTOR.pool.FindMessageTypeByName(full_name)


def _enum_type(full_name: str) -> EnumDescriptor:
    return DESCRIPTOR.pool.FindEnumTypeByName(full_name)
