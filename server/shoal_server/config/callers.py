"""Weights and quotas as people write them: one line for each caller."""

import math
import re
from difflib import get_close_matches
from typing import Final

from shoal_server.options import QuotaOptions

EVERYBODY_ELSE: Final = "*"

_QUOTA: Final = re.compile(r"(?P<name>\S.*?)(?P<limits>(\s+\w+=\S+)+)")
_LIMITS: Final = {"concurrency": int, "requests_per_s": float, "rows_per_s": float, "burst_s": float}


class LineError(ValueError):
    """A line is none; ``str()`` says why."""


def weight_of(line: str) -> tuple[str, float]:
    """Return name and weight of ``NAME=WEIGHT``; the name may hold ``=`` itself.

    Raises:
        LineError: it has another form, or the weight is not above 0.
    """
    name, _equals, text = line.rpartition("=")
    weight = float(text)
    if not name or not 0.0 < weight < math.inf:
        raise LineError(f"a weight is NAME=NUMBER above 0, got {line!r}")
    return name.strip(), weight


def quota_of(line: str) -> tuple[str, QuotaOptions]:
    """Return name and quota of ``NAME concurrency=N requests_per_s=N rows_per_s=N burst_s=N``, any of the four.

    Raises:
        LineError: it has another form, or a number is negative.
    """
    match = _QUOTA.fullmatch(line.strip())
    if match is None:
        raise LineError(f"a quota is NAME and its limits, of {', '.join(_LIMITS)}, got {line!r}")
    limits: dict[str, float] = {}
    for limit in match["limits"].split():
        key, _equals, text = limit.partition("=")
        if key not in _LIMITS:
            meant = "".join(f"; did you mean {near}?" for near in get_close_matches(key, _LIMITS, n=1))
            raise LineError(f"there is no limit {key!r}{meant}")
        if key in limits:
            raise LineError(f"{key!r} stands twice")
        number = limits[key] = _LIMITS[key](text)
        if not 0.0 <= number < math.inf or (key == "burst_s" and not number):
            raise LineError(f"a limit is from 0 on, and burst_s above it, got {limit!r}")
    return match["name"], QuotaOptions(**limits)  # type: ignore[arg-type] # concurrency was parsed as a whole number
