"""Figures since the last push, for back ends that want no sums since the start."""

from collections.abc import Sequence
from dataclasses import replace

from shoal_server.histogram import Buckets
from shoal_server.telemetry.figures import Attributes, Figure, Kind, Point


class Deltas:
    """Remembers what was last told; figures that are no counts stay as they are."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, Attributes], Point] = {}
        self._told_epoch_s = 0.0

    def since_last(self, figures: Sequence[Figure], now_epoch_s: float) -> list[Figure]:
        """Return what was counted since the last call; the first time, since the start.

        What was never counted since stays out, and a count whose beginning is new begins anew.
        """
        told = self._told
        self._told = {}
        changed = []
        for figure in figures:
            if figure.kind in (Kind.LEVEL, Kind.GAUGE):
                changed.append(figure)
                continue
            points = []
            for point in figure.points:
                key = (figure.name, point.attributes)
                self._told[key] = point
                difference = _difference(point, told.get(key), self._told_epoch_s)
                if difference is not None:
                    points.append(difference)
            if points:
                changed.append(replace(figure, points=points))
        self._told_epoch_s = now_epoch_s
        return changed


def _difference(point: Point, last: Point | None, last_epoch_s: float) -> Point | None:
    value = point.value
    if last is None or last.since_epoch_s != point.since_epoch_s:
        size = value.size if isinstance(value, Buckets) else value
        return point if size else None
    before = last.value
    if isinstance(value, Buckets):
        assert isinstance(before, Buckets), "a figure keeps its kind"
        counts = tuple([now - then for now, then in zip(value.counts, before.counts, strict=True)])
        if not any(counts):
            return None
        return Point(point.attributes, Buckets(value.bounds, counts, value.total - before.total), last_epoch_s)
    assert not isinstance(before, Buckets), "a figure keeps its kind"
    return Point(point.attributes, value - before, last_epoch_s) if value != before else None
