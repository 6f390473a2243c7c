"""How many batches may run at once over all models, and whose turn it is."""

from collections.abc import Callable
from itertools import count
from typing import Final

MOST_OWED_S: Final = 1.0
"""Of the time that a model may be ahead of the others: one batch that hung for a minute costs no minute of waiting."""

_LATELY: Final = 256  # times that slots were taken

Waiter = Callable[[], None]


class Account:
    """What one model has had of the slots. Made by ``Slots.account``."""

    __slots__ = ("called", "number", "quiet", "running", "used_s", "waiter")

    def __init__(self, waiter: Waiter, number: int) -> None:
        self.waiter = waiter
        self.number = number  # of those who wait with the same use, the one who asked first
        self.used_s = 0.0
        self.quiet = True  # had less than all others when it last came
        self.running = 0
        self.called = False  # out of the line, and about to take what it waited for


class Slots:
    """Execution slots shared by all batchers. Loop only.

    A free slot is offered to the model that has used them least so far: start-time fair queueing over the time for
    which slots are kept. So a quiet model waits for a slot to be free and no longer, however many hot ones wait beside
    it; models that always wait get equal times, whatever their batches take; and who was quiet has saved nothing up.

    A waiter is a callable that takes a slot if it still has use for one; it is called once per ``wait``.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: dict[Account, None] = {}
        self._numbers = count()
        self._served_s = 0.0  # the use of the last who was served, when he was: whoever was quiet starts from there
        self._takes = 0
        self._last: Account | None = None  # who took one last
        self._turned = -_LATELY  # when that was somebody else than before

    def account(self, waiter: Waiter) -> Account:
        """Return the account of one who will take slots; he forgets it when he is done."""
        return Account(waiter, next(self._numbers))

    def shared(self, account: Account) -> bool:
        """Whether others wait for slots, or have taken some lately."""
        if self._last is not account and self._last is not None:
            return True
        return self._takes - self._turned < _LATELY or len(self._waiting) > (account in self._waiting)

    def take(self, account: Account) -> None:
        """Occupy a free slot."""
        assert self.free > 0, "a slot is taken only where one is free"
        self.free -= 1
        self._wake(account)
        account.running += 1
        self._served_s = max(self._served_s, account.used_s)
        self._takes += 1
        if account is not self._last:
            if self._last is not None:
                self._turned = self._takes
            self._last = account

    def give_back(self, account: Account, used_s: float) -> None:
        """Free a slot that was kept for ``used_s`` seconds, and offer it to whoever waits and has had least."""
        self.free += 1
        assert self.free <= self.total, "a slot is given back once"
        account.running -= 1
        self._add(account, used_s)
        for _ in range(len(self._waiting)):
            if not self.free or not self._waiting:
                break
            next_one = min(self._waiting, key=_turn)
            del self._waiting[next_one]
            next_one.called = True
            next_one.waiter()
            next_one.called = False

    def charge(self, account: Account, used_s: float) -> None:
        """Count a use that needed no slot, as if it had had one."""
        self._wake(account)
        self._served_s = max(self._served_s, account.used_s)
        self._add(account, used_s)

    def wait(self, account: Account) -> None:
        """Ask to be called when a slot is free; asking twice is asking once."""
        if account not in self._waiting:
            self._wake(account)
            account.number = next(self._numbers)
            self._waiting[account] = None

    def forget(self, account: Account) -> None:
        """Wait no longer."""
        self._waiting.pop(account, None)

    def _add(self, account: Account, used_s: float) -> None:
        account.used_s = min(account.used_s + used_s, max(self._served_s + MOST_OWED_S, account.used_s))

    def _wake(self, account: Account) -> None:
        """Start from the present where nothing ran or waited for a while."""
        if not account.running and not account.called:
            account.quiet = account.used_s < self._served_s
            account.used_s = max(account.used_s, self._served_s)

    def __repr__(self) -> str:
        return f"<Slots {self.free} of {self.total} free, {len(self._waiting)} waiting>"


def _turn(account: Account) -> tuple[float, int, bool, int]:
    return account.used_s, account.running, not account.quiet, account.number
