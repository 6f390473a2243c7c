"""Weights and quotas as people write them: one line for each caller."""

import math
import re
from typing import Final

from shoal_server.options import QuotaOptions

EVERYBODY_ELSE: Final = "*"

_QUOTA: Final = re.compile(r"(?P<name>\S.*?)(?P<limits>(\s+\w+=\S+)+)")
_LIMITS: Final = {"concurrency": int, "requests_per_s": float, "rows_per_s": float, "burst_s": float}


def weight_of(line: str) -> tuple[str, float]:
    """Return name and weight of ``NAME=WEIGHT``; the name may hold ``=`` itself.

    Raises:
        ValueError: it has another form, or the weight is not above 0.
    """
    name, _equals, text = line.rpartition("=")
    weight = float(text)
    if not name or not 0.0 < weight < math.inf:
        raise ValueError(f"a weight is NAME=NUMBER above 0, got {line!r}")
    return name.strip(), weight


def quota_of(line: str) -> tuple[str, QuotaOptions]:
    """Return name and quota of ``NAME concurrency=N requests_per_s=N rows_per_s=N burst_s=N``, any of the four.

    Raises:
        ValueError: it has another form, or a number is negative.
    """
    match = _QUOTA.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"a quota is NAME and its limits, of {', '.join(_LIMITS)}, got {line!r}")
    limits: dict[str, float] = {}
    for limit in match["limits"].split():
        key, _equals, text = limit.partition("=")
        if key not in _LIMITS or key in limits:
            raise ValueError(f"a quota has each of {', '.join(_LIMITS)} at most once, got {limit!r}")
        number = limits[key] = _LIMITS[key](text)
        if not 0.0 <= number < math.inf or (key == "burst_s" and not number):
            raise ValueError(f"a limit is not negative, got {limit!r}")
    return match["name"], QuotaOptions(**limits)  # type: ignore[arg-type] # concurrency was parsed as a whole number
