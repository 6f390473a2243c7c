"""What every model version has counted, over all of its loads, for exporters: sums that never go back."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shoal_server.batching.measured import Measured
from shoal_server.batching.statistics import Statistics

MOST_GONE: Final = 64
"""Versions without a load that are remembered. Readers come at their own times, so the last counts stay readable."""


class VersionMeasured(NamedTuple):
    """One version's sums; ``since_epoch_s`` is when they were zero, in seconds since 1970."""

    model: str
    version: int
    since_epoch_s: float
    measured: Measured


@dataclass(slots=True)
class _Series:
    since_epoch_s: float
    past: Measured | None = None
    live: list[Statistics] = field(default_factory=list)


class Ledger:
    """Sums per model and version. Loop only.

    A version may be loaded again, and while its old load drains both count: their sum is told, and what a load has
    counted stays in the sum when it is over. A version that is gone is forgotten when ``MOST_GONE`` others went after
    it; should it come back after that, its sums begin anew, with a new ``since_epoch_s``.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], _Series] = {}
        self._gone: OrderedDict[tuple[str, int], None] = OrderedDict()

    def opened(self, model: str, version: int, statistics: Statistics, epoch_s: float) -> None:
        """A version was loaded, or loaded again, and counts here from now on."""
        series = self._series.setdefault((model, version), _Series(epoch_s))
        series.live.append(statistics)
        self._gone.pop((model, version), None)

    def closed(self, model: str, version: int, statistics: Statistics) -> None:
        """A load is over and counts no more."""
        series = self._series[model, version]
        series.live = [one for one in series.live if one is not statistics]
        last = statistics.measured()
        series.past = last if series.past is None else series.past.plus(last)
        if not series.live:
            self._gone[model, version] = None
            if len(self._gone) > MOST_GONE:
                del self._series[self._gone.popitem(last=False)[0]]

    def read(self) -> Iterator[VersionMeasured]:
        """Yield the sums of each version to which a request has come; the loop may do other things in between."""
        for (model, version), series in list(self._series.items()):
            total = series.past
            for statistics in series.live:
                more = statistics.measured()
                total = more if total is None else total.plus(more)
            if total is not None and not total.is_empty:
                yield VersionMeasured(model, version, series.since_epoch_s, total)
