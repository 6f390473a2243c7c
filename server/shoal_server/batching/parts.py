"""One request of more rows than a batch may have: computed in parts, answered once. Pure.

Each part waits, shares batches and runs like a request of its own, so others' requests go between. Only a few of them
wait at a time, as many as keep the slots busy: a request of a million rows takes no more of the line than that.
"""

from itertools import count
from typing import ClassVar, Final

from shoal_server.batching.forecast import Forecast
from shoal_server.batching.outcome import Outcome, outcome_of
from shoal_server.batching.ticket import Outputs, Ticket
from shoal_server.errors import ExecutionFailed, InvalidRequest, ShoalError
from shoal_server.tensors.batch import OutputBlock, SplitError
from shoal_server.tensors.pieces import joined, kept
from shoal_server.tensors.spec import Checked

MANY_PARTS: Final = 1 << 10
"""Of one request: where there would be more, they grow if they may. Each costs about as much as a small request."""

MOST_PARTS: Final = 1 << 14
"""Of one request whose parts may not grow."""


class Part(Ticket):
    """Stands in the line for some rows of a request: its answer is a piece of that one's, its failure the whole's."""

    is_part: ClassVar[bool] = True

    __slots__ = ("number", "split")

    def __init__(self, split: "Split", number: int, checked: Checked, now: float, deadline_s: float) -> None:
        whole = split.ticket
        super().__init__(
            _Place(split, number),
            checked,
            whole.size_bytes * checked.rows // whole.rows,
            now,
            deadline_s,
            None if number else whole.trace,
            whole.answer_by_s,
            whole.priority,
            whole.caller,
        )
        self.split = split
        self.number = number

    @property
    def answered(self) -> bool:
        """Whether the part is computed, or nobody waits for the whole any more."""
        return not self._responder or self.split.ticket.answered

    def fail(self, error: ShoalError, outcome: Outcome | None = None) -> bool:
        """Fail the whole; return False, doing nothing, where the part was computed before."""
        try:
            self._responder.pop()
        except IndexError:
            return False
        self.outcome = outcome or outcome_of(error)
        self.split.ticket.fail(error, outcome)
        return True


class Split:
    """A request and its parts of at most ``most_rows`` rows. On the loop, but for what ``Part`` brings from threads.

    ``next_parts`` says what to put into the line, ``ended`` is told of each part that left it or its batch.
    ``dispatched_s`` is when the first part was dispatched, None before.
    """

    def __init__(self, ticket: Ticket, most_rows: int, slots: int, *, may_grow: bool) -> None:
        """``slots`` is how many batches of the model may run at once.

        ``may_grow``: whether parts are larger than ``most_rows``, each alone in its batch, where there would be more
        than ``MANY_PARTS`` of them.

        Raises:
            InvalidRequest: it would be more than ``MOST_PARTS``.
        """
        self.ticket = ticket
        if may_grow:
            most_rows = max(most_rows, -(-ticket.rows // MANY_PARTS))
        self.parts = -(-ticket.rows // most_rows)
        self.dispatched_s: float | None = None
        self.under_way: dict[Part, None] = {}
        """The parts that wait or run."""
        self._most_rows = most_rows
        self._slots = slots
        self._patience_s = ticket.deadline_s - ticket.arrived_s
        self._begun = 0
        self._pieces: dict[int, tuple[OutputBlock, ...]] = {}
        self._arrivals = count(1)
        if self.parts > MOST_PARTS:
            raise InvalidRequest(
                f"{ticket.rows} rows take {self.parts} batches of {most_rows} rows; a request may take {MOST_PARTS}"
            )

    @property
    def has_more(self) -> bool:
        """Whether parts are to come that have not been in the line."""
        return self._begun < self.parts

    @property
    def over(self) -> bool:
        """Whether nothing of it waits or runs, or will."""
        return not self.under_way and (self.ticket.answered or not self.has_more)

    def next_parts(self, now: float, forecast: Forecast) -> list[Part]:
        """Return the parts that belong into the line now: one more of them than may run at once waits or runs."""
        fresh: list[Part] = []
        while self.has_more and len(self.under_way) <= self._slots and not self.ticket.answered:
            part = self._part(self._begun, now, forecast)
            self._begun += 1
            self.under_way[part] = None
            fresh.append(part)
        return fresh

    def ended(self, part: Part) -> None:
        """A part left the line or its batch."""
        del self.under_way[part]

    def take(self, number: int, outputs: Outputs, start: int, rows: int) -> None:
        """Keep a part's rows; with the last of them, answer. On the part's thread."""
        self._pieces[number] = tuple([kept(block, start, rows) for block in outputs.blocks])
        if next(self._arrivals) < self.parts:  # a single step, so one thread is the last
            return
        columns = zip(*[self._pieces[number] for number in range(self.parts)], strict=True)
        try:
            blocks = tuple([joined(column) for column in columns])
        except SplitError as error:
            problem = f"the answers to its {self.parts} parts cannot be joined: {error}"
            self.ticket.fail(ExecutionFailed(f"{problem}; send at most {self._most_rows} rows"))
            return
        whole = Outputs(outputs.origin, blocks, tuple([block.tail for block in blocks]))
        self.ticket.succeed(whole, 0, self.ticket.rows)

    def _part(self, number: int, now: float, forecast: Forecast) -> Part:
        whole, start = self.ticket, number * self._most_rows
        rows = min(self._most_rows, whole.rows - start)
        values = tuple([None if value is None else value.cut(start, rows) for value in whole.values])
        first = not number
        part = Part(
            self,
            number,
            Checked(values, rows, whole.key, whole.extent),
            whole.arrived_s if first else now,
            whole.deadline_s if first else min(now + self._patience_s, whole.answer_by_s),
        )
        if now < forecast.trusted_until_s:
            # It must end while there is time for those after it, even if nobody else came.
            turns_after = (self.parts - 1 - number) // self._slots
            part.answer_by_s = max(
                whole.answer_by_s - turns_after * forecast.alone_s(self._most_rows, whole.bucket), now
            )
        return part

    def __repr__(self) -> str:
        return f"<Split {self.ticket!r}: {self._begun} of {self.parts} parts begun, {len(self.under_way)} under way>"


class _Place:
    """Takes what becomes of a part."""

    __slots__ = ("_number", "_split")

    def __init__(self, split: Split, number: int) -> None:
        self._split = split
        self._number = number

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        self._split.take(self._number, outputs, start, rows)

    def fail(self, error: ShoalError) -> None:
        self._split.ticket.fail(error)
