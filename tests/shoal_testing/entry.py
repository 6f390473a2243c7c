"""What the backlog sees of a request."""

from dataclasses import dataclass
from typing import Final

A: Final = ("a",)


@dataclass(eq=False)
class Entry:
    """Waits in lane ``A``, of highest priority, with time enough."""

    rows: int = 1
    key: tuple[object, ...] | None = A
    arrived_s: float = 0.0
    deadline_s: float = 100.0
    size_bytes: int = 10
    priority: int = 1
    caller: str = ""
    bucket: int = 0

    @property
    def answer_by_s(self) -> float:
        return self.deadline_s
