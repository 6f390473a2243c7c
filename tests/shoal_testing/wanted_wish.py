"""What a naive account says of a change: what operators want after it, and what they are told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

FOUND_BROKEN: Final = "LoadFailed"
NOT_FOUND: Final = "NotFound"
REFUSED: Final = "PreconditionFailed"
UNAVAILABLE: Final = "Unavailable"
INVALID: Final = "InvalidRequest"


class Refused(Exception):
    """A change cannot be made; ``name`` is that of the error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Done:
    """What a change did: which version answered before and after, and whether what it replaced is kept."""

    before: int
    after: int
    changed: bool = False
    recorded: bool = True
    kept: bool = False


@dataclass(frozen=True)
class Wish:
    """What operators want of a model; without ``versions`` its policy holds."""

    versions: frozenset[int] | None = None
    current: int | None = None
    previous: int | None = None
    labels: tuple[tuple[str, int], ...] = ()

    def with_labels(self, labels: Mapping[str, int]) -> "Wish":
        return replace(self, labels=tuple(sorted(labels.items())))
