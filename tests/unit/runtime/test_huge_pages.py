"""Memory that is in use is gathered into huge pages; what is not in use, and files, are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.runtime.huge_pages import dense_spans, huge_areas

HUGE = 2 << 20
FULL = 512

MAPS = """\
00400000-00a00000 r-xp 00000000 fe:00 1056 /usr/bin/python3.11
00a00000-01200000 rw-p 00000000 fe:00 1056 /usr/bin/python3.11
01300000-05300000 rw-p 00000000 00:00 0    [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0 
7f0001000000-7f0001200000 rw-p 00000000 00:00 0 
7f0002000000-7f0004000000 ---p 00000000 00:00 0 
7f0005000000-7f0005100000 rw-p 00000000 00:00 0 
7f0006000000-7f0008000000 rw-s 00000000 00:01 7 /memfd:x (deleted)
"""  # noqa: W291 - that is how the system writes it


def test_areas_are_whole_huge_pages_of_private_writable_memory_without_a_file() -> None:
    assert [*huge_areas(MAPS)] == [(0x7F0000200000, 0x7F0000600000), (0x7F0001000000, 0x7F0001200000)]


@pytest.mark.parametrize(
    ("used", "spans"),
    [
        ([], []),
        ([0, 100], []),
        ([FULL], [(0, 1)]),
        ([FULL, FULL, 3, FULL], [(0, 2), (3, 4)]),
        ([447, 448], [(1, 2)]),
    ],
)
def test_spans_are_where_nearly_every_page_is_in_use(used: list[int], spans: list[tuple[int, int]]) -> None:
    assert [*dense_spans(HUGE, used)] == [((1 + a) * HUGE, (1 + b) * HUGE) for a, b in spans]


@given(st.lists(st.integers(0, FULL), max_size=40))
def test_every_dense_huge_page_is_in_one_span_and_no_other(used: list[int]) -> None:
    found = [page for a, b in dense_spans(0, used) for page in range(a // HUGE, b // HUGE)]
    assert found == [page for page, count in enumerate(used) if count >= 448]
