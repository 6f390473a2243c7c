"""One batch on an executor thread: assemble, run, split, answer. Everyone in it is answered, whatever happens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Protocol

from shoal_server.batching.parts import Part
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import ExecutionFailed, InternalError, NotFinite, ShoalError
from shoal_server.events import Traced
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import WHOLE, Array, SplitError, assemble, blocks_of
from shoal_server.tensors.finite import all_finite, first_not_finite
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.spec import Signature


class Control:
    """The hold that the batcher keeps on a run: ``stop`` interrupts it, before or after it began, from any thread."""

    __slots__ = ("_interrupt", "stopped")

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] | None = None
        self.stopped = False

    def on_stop(self, interrupt: Callable[[], None]) -> None:
        """Take what ends the run early."""
        self._interrupt = interrupt
        if self.stopped:
            interrupt()

    def stop(self) -> None:
        """End the run early."""
        self.stopped = True
        if self._interrupt is not None:
            self._interrupt()


class Runner(Protocol):
    """A loaded model, as an execution needs it. ``run`` may be called from several threads at once."""

    @property
    def signature(self) -> Signature:
        """What goes in and out."""
        ...

    @property
    def batching_reason(self) -> str:
        """Why the model is batched or is not."""
        ...

    @property
    def invariance(self) -> InvarianceFinding:
        """Whether rows of its batches are bit for bit what they are alone."""
        ...

    @property
    def tuning_reason(self) -> str:
        """Why so many batches of so many rows run at once."""
        ...

    @property
    def timings(self) -> Sequence[tuple[int, float]]:
        """Rows and seconds of runs before it served."""
        ...

    def run(self, inputs: Sequence[Array | None], control: Control) -> Sequence[Array]:
        """Compute; blocks the calling thread."""
        ...


@dataclass(slots=True)
class Run:
    """One call of the model that answered somebody: its rows (padding not counted) and nanoseconds per stage.

    ``requests`` is the number of those that it answered, ``continued`` of them with rows after their first part,
    ``began_ns`` the start by ``perf_counter_ns``, and ``members`` are those of the requests that are traced.
    """

    rows: int
    input_ns: int
    infer_ns: int
    output_ns: int
    requests: int = 1
    began_ns: int = 0
    members: Sequence[Traced] = ()
    continued: int = 0


@dataclass(slots=True)
class Report:
    """What became of a batch. ``rows_mixed``: the outputs could not be split, so the model is not batched again."""

    runs: list[Run] = field(default_factory=list)
    rows_mixed: bool = False
    bugs: list[Exception] = field(default_factory=list)


class BatchExecution:
    """A batch of one model version, to be called once on an executor thread.

    A batch that fails is halved until the members at fault stand alone, so nobody's input fails a neighbour (at most
    2n - 1 runs for n members, and only where something fails). Outputs that cannot be split are discarded, and the
    members run one by one; a member that is part of a request, as the whole of that.

    ``has_parts`` says that there may be such members.

    Where it is ``guarded``, a member whose answer has NaN or infinity, and whose input has none, runs once more alone:
    a neighbour may have done it. If it comes out the same, it is not answered with that.
    """

    __slots__ = ("_guarded", "_options", "_runner", "control", "has_parts", "origin", "report", "tickets", "traced")

    def __init__(
        self,
        origin: Origin,
        runner: Runner,
        options: BatchingOptions,
        tickets: Sequence[Ticket],
        *,
        guarded: bool = False,
    ) -> None:
        self._guarded = guarded
        self.origin = origin
        self._runner = runner
        self._options = options
        self.tickets = tickets
        self.traced = [ticket for ticket in tickets if ticket.trace is not None]
        self.has_parts = False
        self.control = Control()
        self.report = Report()

    @property
    def form(self) -> object:
        """What decides, besides the rows, how long the batch takes; None where it is not known to be alike."""
        key = self.tickets[0].key
        return None if key is None else (self.origin, key)

    @property
    def rows(self) -> int:
        """How many rows go in, padding not counted."""
        return sum([ticket.rows for ticket in self.tickets])

    def __call__(self) -> Report:
        """Run the batch and answer every member."""
        try:
            self._run(self.tickets, pad=True)
        except Exception as error:  # noqa: BLE001 - a bug of ours: the batch fails, the server goes on
            self.report.bugs.append(error)
        finally:
            for ticket in self.tickets:
                if not ticket.answered:
                    ticket.fail(InternalError("the batch ended without an answer for this member"))
        return self.report

    def _run(self, tickets: Sequence[Ticket], *, pad: bool) -> None:
        present = [ticket for ticket in tickets if not ticket.answered]
        if not present:
            return
        try:
            self._run_together(present, pad=pad)
        except SplitError as error:
            self._run_apart(present, error, pad=pad)
        except ExecutionFailed as error:
            self._isolate(present, error, pad=pad)
        except Exception as error:  # noqa: BLE001 - what a runtime may raise is not ours to enumerate
            self.report.bugs.append(error)
            self._isolate(present, InternalError(repr(error)), pad=pad)

    def _run_apart(self, tickets: Sequence[Ticket], error: SplitError, *, pad: bool) -> None:
        if len(tickets) == 1 and not pad:
            ticket = tickets[0]
            if isinstance(ticket, Part):
                self.report.rows_mixed = True
                self._run([ticket.split.ticket], pad=False)
            else:
                ticket.fail(ExecutionFailed(f"the model broke its own signature: {error}"))
            return
        self.report.rows_mixed |= len(tickets) > 1
        for ticket in tickets:
            self._run([ticket], pad=False)

    def _isolate(self, tickets: Sequence[Ticket], error: ShoalError, *, pad: bool) -> None:
        if len(tickets) == 1 or self.control.stopped:
            for ticket in tickets:
                ticket.fail(error)
            return
        middle = len(tickets) // 2
        self._run(tickets[:middle], pad=pad)
        self._run(tickets[middle:], pad=pad)

    def _run_together(self, tickets: Sequence[Ticket], *, pad: bool) -> None:
        runner = self._runner
        signature = runner.signature
        began = perf_counter_ns()
        rows = sum([ticket.rows for ticket in tickets])
        padded = self._options.padded(rows) if pad and tickets[0].key is not None else rows
        inputs = assemble(signature, [ticket.values for ticket in tickets], padded if padded > rows else 0)
        assembled = perf_counter_ns()
        arrays = runner.run(inputs, self.control)
        computed = perf_counter_ns()
        whole = len(tickets) == 1 and padded == rows and not tickets[0].is_part
        blocks = blocks_of(signature, arrays, WHOLE if whole else padded)
        outputs = Outputs(self.origin, blocks, tuple([b.shape(WHOLE) if whole else b.tail for b in blocks]))
        suspects = self._suspects(tickets, inputs, arrays) if self._guarded else ()
        requests = 0
        if whole:
            requests += tickets[0].succeed(outputs, 0, WHOLE)
        else:
            start = 0
            for ticket in tickets:
                if ticket not in suspects:
                    requests += ticket.succeed(outputs, start, ticket.rows)
                start += ticket.rows
        output_ns = perf_counter_ns() - computed
        if suspects:
            rows -= sum([suspect.rows for suspect in suspects])
        run = Run(rows, assembled - began, computed - assembled, output_ns, requests, began)
        if self.traced:
            run.members = [ticket.trace for ticket in tickets if ticket.trace is not None]
        if self.has_parts:
            run.continued = sum([isinstance(ticket, Part) and ticket.number > 0 for ticket in tickets])
        self.report.runs.append(run)
        for suspect in suspects:
            self._run([suspect], pad=pad)

    def _suspects(
        self, tickets: Sequence[Ticket], inputs: Sequence[Array | None], arrays: Sequence[Array]
    ) -> Sequence[Ticket]:
        """Return the members of a batch whose answers are not finite while their inputs are.

        Raises:
            NotFinite: it is the only member.
        """
        signature = self._runner.signature
        if all(map(all_finite, signature.outputs, arrays)):
            return ()
        suspects: list[Ticket] = []
        start = 0
        for ticket in tickets:
            if tickets[0].key is None:
                own, given = arrays, inputs
            else:
                rows = slice(start, start + ticket.rows)
                own = [array[rows] for array in arrays]
                given = [None if array is None else array[rows] for array in inputs]
            start += ticket.rows
            place = first_not_finite(signature.outputs, own)
            if place is None or first_not_finite(signature.inputs, given) is not None:
                continue
            if len(tickets) == 1:
                raise NotFinite(f"output '{place.name}' has NaN or infinity in row {place.row}, and no input has any")
            suspects.append(ticket)
        return suspects
