import re

import pytest

from shoal_server.cli.units import duration, local_time, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 ms"),
        (0.00042, "0.42 ms"),
        (0.0099, "9.90 ms"),
        (0.0314, "31 ms"),
        (1, "1.00 s"),
        (119.994, "119.99 s"),
        (125.4, "2 min 05 s"),
        (179.9, "3 min 00 s"),
        (7200, "120 min 00 s"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (-1536, "-1.5 KiB"),
        (100 << 20, "100.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_a_size_is_told_in_the_unit_that_suits_it(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_a_moment_is_told_in_local_time_with_its_offset() -> None:
    assert re.fullmatch(r"2001-09-0[89] \d\d:\d\d:40 [+-]\d{4}", local_time(1_000_000_000))
