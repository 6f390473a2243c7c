import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.onnx.model_pb2 import NodeProto, TensorShapeProto
from shoal_server.runtime.wire_fields import fields, sized


def walked(message: bytes) -> list[tuple[int, bytes]]:
    view = memoryview(message)
    found = list(fields(view, 0, len(view)))
    assert [field.start for field in found] + [len(view)] == [0] + [field.end for field in found]
    return [(field.number, bytes(view[field.value : field.end])) for field in found]


@given(st.lists(st.text(max_size=300), max_size=5), st.text(max_size=5))
def test_a_message_is_walked_field_by_field(inputs: list[str], domain: str) -> None:
    message = NodeProto(input=inputs, domain=domain).SerializeToString(deterministic=True)
    assert walked(message) == [*((1, name.encode()) for name in inputs), (7, domain.encode())]


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_numbers_of_any_size_are_walked_past(size: int) -> None:
    dim = TensorShapeProto.Dimension(dim_value=size).SerializeToString()
    assert [number for number, _ in walked(dim + dim)] == [1, 1]


def test_fixed_numbers_are_walked_past() -> None:
    assert walked(b"\x11" + bytes(8) + b"\x1d" + bytes(4)) == [(2, bytes(8)), (3, bytes(4))]


@given(st.binary(max_size=300), st.integers(1, 1 << 20))
def test_a_field_can_be_written(value: bytes, number: int) -> None:
    assert walked(sized(number, len(value)) + value) == [(number, value)]


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05abc", b"\x08\x80", b"\x80", b"\x0b", b"\x11\x00", b"\x08"])
def test_what_is_cut_off_is_no_message(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        walked(message)


@given(st.binary(max_size=60))
def test_random_bytes_are_walked_or_refused(message: bytes) -> None:
    try:
        walked(message)
    except ValueError:
        return
