from collections.abc import Mapping

import pytest

from shoal_bench.micro import nanoseconds, parse_perf
from shoal_bench.operations import Operation, operations


@pytest.fixture(scope="module")
def known() -> Mapping[str, Operation]:
    return operations()


def test_every_step_can_be_done_again_and_again(known: Mapping[str, Operation]) -> None:
    assert list(known) == ["codec", "lease", "backlog", "batch", "split", "guard", "encode", "serve"]
    for operation in known.values():
        operation.run()
        operation.run()


def test_every_step_has_as_many_values_as_rounds() -> None:
    found = nanoseconds(1, pass_ns=1)
    assert all(len(values) == 1 and values[0] > 0 for values in found.values())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12345,,instructions:u,1000,100.00,,\n", 12345),
        ("a warning\n99,,instructions,1,100.00,,\n", 99),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("<not counted>,,instructions:u,0,0.00,,\n", None),
        ("", None),
    ],
)
def test_the_count_of_perf_is_read_where_there_is_one(text: str, count: int | None) -> None:
    assert parse_perf(text) == count
