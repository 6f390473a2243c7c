"""When certificates are valid, and whom to warn of their end: pure, on wall-clock time that may jump."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_DAY_S: Final = 86_400.0
_WARNED_AT_S: Final = (30 * _DAY_S, 7 * _DAY_S, 1 * _DAY_S)
_LARGEST_SHARE: Final = 1 / 3
_SHARE_OF_SHORT_LIVES: Final = 1 / 10


def moment(epoch_s: float) -> str:
    """Return a point in time as people read it."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in seconds since 1970; ``what`` names it and its file."""

    what: str
    begins_s: float
    ends_s: float

    def problem(self, now_epoch_s: float) -> str:
        """Say why it is not valid now; empty where it is."""
        if now_epoch_s > self.ends_s:
            return f"{self.what} has expired on {moment(self.ends_s)}; it is {moment(now_epoch_s)}"
        if now_epoch_s < self.begins_s:
            return f"{self.what} is valid only from {moment(self.begins_s)}; it is {moment(now_epoch_s)}"
        return ""


class ExpiryWatch:
    """Tells once at each of 30, 7 and 1 days before the end, and once after it.

    Certificates that live shorter than a quarter of a year are replaced late in their life as a matter of course: they
    are told of only in its last third, or in its last tenth where that is under a day. A clock that jumps back and
    forth repeats nothing.
    """

    def __init__(self, validity: Validity) -> None:
        self._validity = validity
        life_s = validity.ends_s - validity.begins_s
        levels = [level_s for level_s in _WARNED_AT_S if level_s <= life_s * _LARGEST_SHARE]
        self._levels = (*(levels or [life_s * _SHARE_OF_SHORT_LIVES]), 0.0)
        self._told = 0

    @property
    def validity(self) -> Validity:
        """Of what."""
        return self._validity

    def due(self, now_epoch_s: float) -> bool:
        """Whether there is something to tell now that was not told before."""
        left_s = self._validity.ends_s - now_epoch_s
        reached = sum(left_s < level_s for level_s in self._levels)
        if reached <= self._told:
            return False
        self._told = reached
        return True
