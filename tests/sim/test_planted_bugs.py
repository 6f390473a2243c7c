"""Whether the simulation would notice: each planted bug must be found within some dozens of seeds, by whatever check.

``test_simulation`` shows that the same seeds find nothing where nothing is planted.
"""

from collections.abc import Callable

import pytest

from shoal_testing.drawing import drawn
from shoal_testing.planted import BUGS
from shoal_testing.simulation import simulate

ENOUGH_SEEDS = 400


@pytest.mark.timeout(60)  # five seconds for all seeds, on a machine that has nothing else to do
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch)
    for seed in sorted(range(ENOUGH_SEEDS), key=lambda seed: seed != bug.seen_by):
        try:
            simulate(drawn(seed))
        except Exception as finding:  # noqa: BLE001 - whichever check it is
            record_property("found", f"by seed {seed}: {finding!r}")
            return
    pytest.fail(f"{ENOUGH_SEEDS} seeds did not find that {name.replace('_', ' ')}")
