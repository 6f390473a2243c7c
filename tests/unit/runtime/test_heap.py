"""While anything loads, weights get blocks of their own; afterwards the tensors of runs get none."""

import pytest

from shoal_server.runtime.heap import Heap

MMAP_THRESHOLD = -3


class CLibrary:
    """Remembers the last limit from which on blocks are of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit_bytes = 0
        monkeypatch.setattr("shoal_server.runtime.heap._function", lambda _name: self.mallopt)

    def mallopt(self, what: int, value: int) -> int:
        if what == MMAP_THRESHOLD:
            self.limit_bytes = value
        return 1


def test_blocks_are_of_their_own_until_the_last_load_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    library = CLibrary(monkeypatch)
    heap = Heap()
    with heap.loading():
        assert library.limit_bytes == 256 << 10
        with pytest.raises(ValueError, match="no model"), heap.loading():
            raise ValueError("no model")
        assert library.limit_bytes == 256 << 10
    assert library.limit_bytes == 32 << 20


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_server.runtime.heap._function", lambda _name: None)
    with Heap().loading():
        pass
