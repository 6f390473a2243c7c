import numpy as np
import pytest

from shoal_server.batching.answer_cache import ENTRY_BYTES, AnswerCache, KeptAnswer
from shoal_server.batching.content import MOST_CONTENT_BYTES, content_key
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.tensors.batch import OutputBlock
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Checked, Signature, TensorSpec
from shoal_server.tensors.value import Value
from shoal_testing.fakes import RecordingResponder, tensor
from shoal_testing.scattered import FakeScattered


def answer(size_bytes: int) -> KeptAnswer:
    block = OutputBlock(TensorSpec("y", DataType.UINT8, ("N",)), (size_bytes,), bytes(size_bytes))
    return KeptAnswer(Outputs(Origin("m", 1, 1), (block,), ((),)), size_bytes)


OVERHEAD = answer(0).size_bytes


def test_an_answer_is_had_until_its_time_is_over() -> None:
    cache, kept = AnswerCache(1 << 20, 2.0), answer(10)
    cache.put(b"a", kept, 5.0)
    assert cache.get(b"a", 6.9) is kept
    assert cache.get(b"b", 6.9) is None
    assert cache.get(b"a", 7.0) is None
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_it_never_holds_more_than_its_bytes_and_forgets_what_was_used_longest_ago() -> None:
    cache = AnswerCache(3 * (OVERHEAD + 100), 60.0)
    for number, key in enumerate((b"a", b"b", b"c")):
        cache.put(key, answer(100), number)
    assert cache.get(b"a", 3.0) is not None
    cache.put(b"d", answer(100), 4.0)
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key, 5.0)] == [b"a", b"c", b"d"]
    cache.put(b"e", answer(200), 6.0)
    assert cache.size_bytes <= 3 * (OVERHEAD + 100)
    assert cache.get(b"e", 7.0) is not None


def test_what_is_too_large_is_not_kept_and_displaces_nothing() -> None:
    cache = AnswerCache(OVERHEAD + 100, 60.0)
    cache.put(b"a", answer(100), 0.0)
    cache.put(b"b", answer(101), 0.0)
    assert cache.get(b"a", 1.0) is not None
    assert cache.get(b"b", 1.0) is None


def test_an_answer_takes_the_place_of_the_one_with_its_key() -> None:
    cache, newer = AnswerCache(1 << 20, 2.0), answer(20)
    cache.put(b"a", answer(10), 0.0)
    cache.put(b"a", newer, 1.0)
    assert cache.get(b"a", 2.5) is newer
    assert cache.size_bytes == OVERHEAD + 20
    cache.clear()
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_the_overhead_counts_what_keys_and_objects_take() -> None:
    assert OVERHEAD >= ENTRY_BYTES


FLOATS = Signature(
    (TensorSpec("a", DataType.FP32, ("N", "M")), TensorSpec("b", DataType.FP32, ("N", "M"), optional=True)),
    (TensorSpec("y", DataType.FP32, ("N", "M")),),
    batched=True,
)
TEXTS = Signature((TensorSpec("a", DataType.BYTES, ("N",)),), (TensorSpec("y", DataType.BYTES, ("N",)),), batched=True)


def key_of(signature: Signature, **arrays: object) -> bytes | None:
    tensors = [tensor(name, np.asarray(array)) for name, array in arrays.items()]
    return content_key(Ticket(RecordingResponder(), signature.check(tensors), 10, 0.0, 60.0))


def floats(*values: float, columns: int = 1) -> object:
    return np.array(values, np.float32).reshape(-1, columns)


def test_equal_contents_have_equal_keys() -> None:
    assert key_of(FLOATS, a=floats(1, 2)) == key_of(FLOATS, a=floats(1, 2))
    assert key_of(FLOATS, a=floats(1), b=floats(2)) == key_of(FLOATS, b=floats(2), a=floats(1)), "in whatever order"


def test_the_same_content_has_the_same_key_wherever_its_elements_lie() -> None:
    keys = [
        content_key(Ticket(RecordingResponder(), Checked((Value((2, 2), payload), None), 2, ()), 10, 0.0, 60.0))
        for payload in (bytes(16), memoryview(bytes(16)), FakeScattered(bytes(16)))
    ]
    assert keys == [key_of(FLOATS, a=floats(0, 0, 0, 0, columns=2))] * 3


def test_contents_that_differ_in_anything_have_different_keys() -> None:
    keys = [
        key_of(FLOATS, a=floats(1, 2)),
        key_of(FLOATS, a=floats(2, 1)),
        key_of(FLOATS, a=floats(1, 2, columns=2)),
        key_of(FLOATS, a=floats(1, 2), b=floats(1, 2)),
        key_of(FLOATS, a=floats(1, 2, 1, 2)),
        key_of(FLOATS, a=floats(0.0)),
        key_of(FLOATS, a=floats(-0.0)),
        key_of(TEXTS, a=np.array(["a", "bc"], object)),
        key_of(TEXTS, a=np.array(["ab", "c"], object)),
        key_of(TEXTS, a=np.array(["abc", ""], object)),
        key_of(TEXTS, a=np.array(["abc"], object)),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("size_bytes", "looked_at"), [(MOST_CONTENT_BYTES, True), (MOST_CONTENT_BYTES + 4, False)])
def test_what_is_too_much_to_look_at_has_no_key(size_bytes: int, *, looked_at: bool) -> None:
    value = Value((1, size_bytes // 4), bytes(size_bytes))
    ticket = Ticket(RecordingResponder(), Checked((value, None), 1, ()), 10, 0.0, 60.0)
    assert (content_key(ticket) is not None) == looked_at
