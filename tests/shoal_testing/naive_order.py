"""Precedence read naively: everything is looked up anew among all that wait, and nobody is ever forgotten."""

from collections.abc import Sequence
from math import inf
from typing import Generic, TypeVar

from shoal_server.batching.precedence import Ranked
from shoal_server.options import BatchingOptions, FairnessOptions

E = TypeVar("E", bound=Ranked)


class NaiveOrder(Generic[E]):
    """Told of every arrival and every batch; asked who is to be next of those that wait."""

    def __init__(self, options: BatchingOptions, fairness: FairnessOptions | None) -> None:
        self.options = options
        self.fairness = fairness
        self.tags: dict[str, float] = {}
        self.numbers: dict[str, int] = {}
        self.served_tag = 0.0
        self.began = 0

    def name(self, entry: E) -> str:
        return entry.caller if self.fairness is not None else ""

    def weight(self, name: str) -> float:
        return self.fairness.weights.get(name, 1.0) if self.fairness is not None else 1.0

    def arrive(self, entry: E, waiting: Sequence[E]) -> None:
        """``waiting`` are those before it, in order of arrival."""
        if not waiting:
            self.tags.clear()
        name = self.name(entry)
        if all(self.name(other) != name for other in waiting):
            self.tags[name] = max(self.served_tag - 2 * self.options.max_rows, self.tags.get(name, -inf))
            self.began += 1
            self.numbers[name] = self.began

    def first(self, waiting: Sequence[E], tags: dict[str, float] | None = None) -> E:
        tags = self.tags if tags is None else tags
        name = min({self.name(entry) for entry in waiting}, key=lambda name: (tags[name], self.numbers[name]))
        mine = [entry for entry in waiting if self.name(entry) == name]
        aging_s = self.options.aging_s
        return min(mine, key=lambda entry: (entry.arrived_s + (entry.priority - 1) * aging_s, entry.priority))

    def order(self, waiting: Sequence[E], at_most: int) -> list[E]:
        """Return the first of those that wait, in the order in which they are to be served."""
        tags, left, ordered = dict(self.tags), list(waiting), list[E]()
        while left and len(ordered) < at_most:
            entry = self.first(left, tags)
            left.remove(entry)
            ordered.append(entry)
            tags[self.name(entry)] += max(entry.rows, 1) / self.weight(self.name(entry))
        return ordered

    def serve(self, batch: Sequence[E]) -> None:
        for entry in batch:
            name = self.name(entry)
            self.served_tag = max(self.served_tag, self.tags[name])
            self.tags[name] += max(entry.rows, 1) / self.weight(name)

    def rows_ahead(self, waiting: Sequence[E], name: str, priority: int) -> int:
        own = sum(one.rows for one in waiting if self.name(one) == name and one.priority <= priority)
        others = [one for one in waiting if self.name(one) != name]
        weights = sum(self.weight(other) for other in sorted({self.name(one) for one in others}))
        saved = max(0.0, self.served_tag - self.tags[name]) * self.weight(name) if own else 0.0
        shared = max(0.0, own - saved)
        return own + min(sum(one.rows for one in others), int(shared * weights / self.weight(name) + 1e-9))
