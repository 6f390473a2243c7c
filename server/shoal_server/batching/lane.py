"""A lane of the waiting line: those who may share a batch as they are."""

from collections import OrderedDict
from typing import Generic

from shoal_server.batching.decision import E


class Lane(Generic[E]):
    """``key`` is what they have in common, None for one who runs alone; ``bucket`` 0 where lengths do not vary."""

    __slots__ = ("bucket", "entries", "key", "rows")

    def __init__(self, key: tuple[object, ...] | None, bucket: int = 0) -> None:
        self.key = key
        self.bucket = bucket
        self.entries: OrderedDict[E, int] = OrderedDict()  # each with its number
        self.rows = 0

    @property
    def cells(self) -> int:
        """Rows times their length; 0 where lengths do not vary."""
        return self.rows * self.bucket
