"""How many batches may run at once over all models, and whose turn it is."""

from collections import OrderedDict
from collections.abc import Callable


class Slots:
    """Execution slots shared by all batchers, handed round robin to those who wait. Loop only.

    A waiter is a callable that takes a slot if it still has use for one; it is called once per ``wait``.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiters: OrderedDict[Callable[[], None], None] = OrderedDict()

    def take(self) -> None:
        """Occupy a free slot."""
        assert self.free > 0, "a slot is taken only where one is free"
        self.free -= 1

    def give_back(self) -> None:
        """Free a slot and offer it to whoever has waited longest."""
        self.free += 1
        assert self.free <= self.total, "a slot is given back once"
        for _ in range(len(self._waiters)):
            if not self.free or not self._waiters:
                break
            waiter, _none = self._waiters.popitem(last=False)
            waiter()

    def wait(self, waiter: Callable[[], None]) -> None:
        """Ask to be called when a slot is free; asking twice is asking once."""
        self._waiters[waiter] = None

    def forget(self, waiter: Callable[[], None]) -> None:
        """Wait no longer."""
        self._waiters.pop(waiter, None)

    def __repr__(self) -> str:
        return f"<Slots {self.free} of {self.total} free, {len(self._waiters)} waiting>"
