"""Messages of the protocol as JSON has them."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def plain(message: Message) -> dict[str, Any]:
    """Return a message as a dictionary with the field names of the protocol.

    Every field is there: None for one that is unset and may be, whole numbers as numbers (protobuf's own JSON makes
    strings of those of 64 bits), values of enums by name, or by number where this version does not know the name.
    """
    return {field.name: _value(message, field) for field in _fields(message) if not _is_other_choice(message, field)}


def _fields(message: Message) -> Iterable[FieldDescriptor]:
    return message.DESCRIPTOR.fields  # type: ignore[return-value] # upb's descriptors, which have the same attributes


def _value(message: Message, field: FieldDescriptor) -> object:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)  # the protocol has no map to messages
    if field.is_repeated:
        return [_single(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401 - what a field of any type may hold
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    found: object = value
    return found


def _is_other_choice(message: Message, field: FieldDescriptor) -> bool:
    """Return whether the field is of a oneof that has not chosen it; an optional field is one of its own (protobuf)."""
    choice = field.containing_oneof
    return choice is not None and len(choice.fields) > 1 and not message.HasField(field.name)
