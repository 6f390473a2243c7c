import pytest

from shoal_server.errors import InvalidRequest
from shoal_server.tensors.text import MOST_TEXTS, decode_text, encode_text, join_raw

MEGABYTE = "x" * (1 << 20)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["", "", ""],
        ["a"],
        ["a", "bc", ""],
        ["\x00", "a\x00b\x00"],
        ["é", "日本語", "\U0001f41f"],
        [MEGABYTE, "z"],
    ],
    ids=["none", "empty", "empties", "one", "several", "nul", "unicode", "megabyte"],
)
def test_strings_survive_the_way_out_and_back(texts: list[str]) -> None:
    assert decode_text("x", b"".join(encode_text(texts)), len(texts)) == texts


def test_each_string_has_its_length_in_four_little_endian_bytes_before_it() -> None:
    assert encode_text(["ab", "é"]) == [b"\x02\x00\x00\x00ab", b"\x02\x00\x00\x00\xc3\xa9"]


def test_byte_strings_are_joined_each_with_its_length_before_it() -> None:
    assert join_raw([b"\xff", b""]) == b"\x01\x00\x00\x00\xff\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("raw", "count", "complaint"),
    [
        (b"", 1, "input 'x' takes 1 BYTES elements, 0 bytes cannot hold their lengths"),
        (b"\x00\x00\x00", 1, "input 'x' takes 1 BYTES elements, 3 bytes cannot hold their lengths"),
        (b"\x00\x00\x00\x00", 1 << 62, f"input 'x' takes {1 << 62} BYTES elements, 4 bytes cannot hold their lengths"),
        (b"\x02\x00\x00\x00a", 1, "input 'x': BYTES element 0 is longer than the data that came"),
        (b"\xff\xff\xff\xffabc", 1, "input 'x': BYTES element 0 is longer than the data that came"),
        (b"\x01\x00\x00\x00a\x01\x00", 1, "input 'x' takes 1 BYTES elements, 2 bytes more came"),
        (b"\x01\x00\x00\x00abcd\x01\x00", 2, "input 'x': BYTES element 1 is longer than the data that came"),
        (b"\x01\x00\x00\x00\xff", 1, "input 'x': BYTES element 0 is not valid UTF-8"),
        (b"\x00\x00\x00\x00\x02\x00\x00\x00\xc3\x28", 2, "input 'x': BYTES element 1 is not valid UTF-8"),
        (b"\x03\x00\x00\x00\xed\xa0\x80", 1, "input 'x': BYTES element 0 is not valid UTF-8"),  # half a surrogate pair
        (b"\x00\x00\x00\x00" * 3, 2, "input 'x' takes 2 BYTES elements, 4 bytes more came"),
        (b"\x04\x00\x00\x00abcd", 2, "input 'x' takes 2 BYTES elements, got 1"),
        (b"\x00\x00\x00\x00", 0, "input 'x' takes 0 BYTES elements, 4 bytes more came"),
        (bytes(4 * MOST_TEXTS + 4), MOST_TEXTS + 1, "input 'x' has 262145 BYTES elements, at most 262144 are possible"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None,
)
def test_bytes_that_are_not_so_many_strings_are_refused_by_name(raw: bytes, count: int, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as failure:
        decode_text("x", raw, count)
    assert str(failure.value) == complaint
