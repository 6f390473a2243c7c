"""Who waits, by when they are due. Pure."""

import heapq
from itertools import count
from typing import Generic

from shoal_server.batching.decision import E


class Deadlines(Generic[E]):
    """The deadlines of those who wait.

    Numbers, not entries, are in the heap: who has left stays there for a while, and must not keep a request's bytes.
    """

    __slots__ = ("_by_number", "_heap", "_numbers")

    def __init__(self) -> None:
        self._by_number: dict[int, E] = {}
        self._heap: list[tuple[float, int]] = []
        self._numbers = count()

    def add(self, entry: E) -> int:
        """Take somebody up; return the number that ``remove`` takes to know him by."""
        number = next(self._numbers)
        self._by_number[number] = entry
        if len(self._heap) > 64 + 2 * len(self._by_number):
            self._forget_the_gone()
        heapq.heappush(self._heap, (entry.deadline_s, number))
        return number

    def remove(self, number: int) -> None:
        """Forget somebody."""
        del self._by_number[number]

    def first_s(self) -> float | None:
        """Return the earliest deadline, dropping those who left from the heap's top."""
        heap = self._heap
        while heap and heap[0][1] not in self._by_number:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> E | None:
        """Return who is due first, if it is time."""
        first_s = self.first_s()
        return None if first_s is None or first_s > now else self._by_number[self._heap[0][1]]

    def _forget_the_gone(self) -> None:
        """Drop the deadlines of those who left, however they left, so that the heap stays in proportion to the line."""
        self._heap = [item for item in self._heap if item[1] in self._by_number]
        heapq.heapify(self._heap)
