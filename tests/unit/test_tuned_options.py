"""What was measured holds where the owner has left it open."""

from dataclasses import replace

import pytest

from shoal_server.config.settings import BatchingSettings
from shoal_server.options import BatchingOptions


@pytest.mark.parametrize(
    ("options", "max_rows", "pressed_rows", "delay_s"),
    [
        (BatchingOptions(), 4, 16, 0.25),
        (BatchingOptions(max_rows=2, tunes_rows=False), 2, 0, 0.25),
        (BatchingOptions(max_rows=2), 2, 2, 0.25),  # never more
        (BatchingOptions(tunes_delay=False), 4, 16, 0.0),
        (BatchingOptions(allowed_rows=(1, 64)), 64, 0, 0.25),
        (BatchingOptions(preferred_rows=(8,)), 64, 0, 0.25),
    ],
)
def test_what_the_owner_says_is_not_tuned(
    options: BatchingOptions, max_rows: int, pressed_rows: int, delay_s: float
) -> None:
    wanted = replace(options, max_rows=max_rows, pressed_rows=pressed_rows, delay_s=delay_s)
    assert options.tuned(4, 16, 0.25) == wanted


def test_without_a_finding_the_options_stay_as_they_are() -> None:
    assert BatchingOptions(delay_s=0.5).tuned(0, 0, 0.0) == BatchingOptions(delay_s=0.5)


def test_settings_are_tuned_unless_they_are_said() -> None:
    assert (BatchingSettings().options().tunes_rows, BatchingSettings().options().tunes_delay) == (True, True)
    said = BatchingSettings(max_rows=64, delay_ms=0.0).options()
    assert (said.tunes_rows, said.tunes_delay) == (False, False)
