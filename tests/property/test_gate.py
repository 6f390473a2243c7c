"""The gate against plain sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.admission.gate import Gate, GateStatistics
from shoal_server.errors import Overloaded
from shoal_server.options import AdmissionOptions

REQUESTS = st.tuples(st.integers(0, 12), st.integers(0, 120))
CALLS = st.lists(st.one_of(REQUESTS, st.integers(0, 5)), max_size=40)
BOUNDS = st.builds(AdmissionOptions, st.integers(1, 6), st.integers(1, 20), st.integers(1, 200))


@given(BOUNDS, CALLS)
def test_the_gate_holds_what_was_let_in_and_never_more_than_its_bounds_or_one(
    options: AdmissionOptions, calls: list[tuple[int, int] | int]
) -> None:
    gate = Gate(options)
    inside: list[tuple[int, int]] = []
    refused = 0
    for call in calls:
        if isinstance(call, int):
            if call < len(inside):
                gate.release(*inside.pop(call))
        else:
            rows = sum(one[0] for one in inside) + call[0]
            size_bytes = sum(one[1] for one in inside) + call[1]
            over = len(inside) >= options.max_requests or rows > options.max_rows or size_bytes > options.max_bytes
            if inside and over:
                refused += 1
                with pytest.raises(Overloaded):
                    gate.admit(*call)
            else:
                gate.admit(*call)
                inside.append(call)
        rows, size_bytes = sum(one[0] for one in inside), sum(one[1] for one in inside)
        assert gate.statistics() == GateStatistics(len(inside), rows, size_bytes, refused)
        assert len(inside) <= 1 or (
            len(inside) <= options.max_requests and rows <= options.max_rows and size_bytes <= options.max_bytes
        )
