"""One execution for all requests of the same content. Pure, but for what comes from the batch's thread."""

from contextlib import suppress
from math import inf

from shoal_server.batching.answer_cache import KeptAnswer
from shoal_server.batching.outcome import Outcome, outcome_of
from shoal_server.batching.ticket import Outputs, Responder, Ticket
from shoal_server.errors import ShoalError
from shoal_server.tensors.pieces import kept
from shoal_server.tensors.spec import Checked


class Flight(Ticket):
    """Stands in the line, and then in a batch, for requests of the same content: its ``followers``.

    The first of them leads: the flight has its place and its deadlines, so only those may join that would wait as long.
    An answer goes to all. A failure goes to the leader, if he is still there; the others are to be run on their own.
    Whoever leaves, the flight goes on as long as somebody waits for it.
    """

    __slots__ = ("_keeps", "answer", "content", "dispatched_s", "followers", "kept", "leader")

    def __init__(self, content: bytes, leader: Ticket, now: float, *, keeps: bool) -> None:
        """``keeps`` says that the answer is to be had afterwards as ``kept``."""
        super().__init__(
            _NOBODY,
            Checked(tuple(leader.values), leader.rows, leader.key, leader.extent),
            leader.size_bytes,
            now,
            leader.deadline_s,
            leader.trace,
            leader.answer_by_s,
            leader.priority,
            leader.caller,
        )
        self.content = content
        self.leader: Ticket | None = leader
        self.followers = [leader]
        self.dispatched_s = inf
        self.answer: tuple[Outputs, int, int] | None = None
        self.kept: KeptAnswer | None = None
        self._keeps = keeps

    @property
    def answered(self) -> bool:
        """Whether it has come to its end, or nobody waits for it any more."""
        return not self._responder or self.deserted

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for it."""
        return all(follower.answered for follower in self.followers)

    def takes(self, ticket: Ticket) -> bool:
        """Whether a request of the same content, caller and priority may join now."""
        if self.answer is not None:
            return True
        if not self._responder or self.deserted:
            return False
        waits = self.dispatched_s == inf
        return not waits or (ticket.deadline_s >= self.deadline_s and ticket.answer_by_s >= self.answer_by_s)

    def remove(self, ticket: Ticket) -> None:
        """A follower left while the flight is in the line."""
        self.followers.remove(ticket)
        if ticket is self.leader:
            self.leader = self.trace = None

    def succeed(self, outputs: Outputs, start: int, rows: int) -> bool:
        """Answer all with results; return False where it had come to its end before, or nobody was left."""
        try:
            self._responder.pop()
        except IndexError:
            return False
        self.outcome = Outcome.OK
        if self._keeps:
            with suppress(MemoryError):
                blocks = tuple([kept(block, start, rows) for block in outputs.blocks])
                self.kept = KeptAnswer(outputs._replace(blocks=blocks), rows)
        # From here on, whoever joins is answered when the loop hears of the end.
        self.answer = outputs, start, rows
        took = [follower.succeed(outputs, start, rows) for follower in list(self.followers)]
        return any(took)

    def fail(self, error: ShoalError, outcome: Outcome | None = None) -> bool:
        """Answer the leader with an error; return False where it had come to its end before."""
        try:
            self._responder.pop()
        except IndexError:
            return False
        self.outcome = outcome or outcome_of(error)
        if self.leader is not None:
            self.leader.fail(error, outcome)
        return True

    def fail_all(self, error: ShoalError) -> None:
        """Answer everyone with an error."""
        self.fail(error)
        for follower in self.followers:
            follower.fail(error)

    def __repr__(self) -> str:
        return f"<Flight of {len(self.followers)}, {self.rows} rows, due {self.deadline_s:.3f}>"


class _Nobody:
    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        del outputs, start, rows
        raise AssertionError("a flight answers its followers")

    def fail(self, error: ShoalError) -> None:
        del error
        raise AssertionError("a flight answers its followers")


_NOBODY: Responder = _Nobody()
