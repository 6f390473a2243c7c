"""One batch on an executor thread: assemble, run, split, answer. Everyone in it is answered, whatever happens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns, thread_time_ns
from typing import Protocol

from shoal_server.batching.parts import Part
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import ExecutionFailed, InternalError, NotFinite, ShoalError
from shoal_server.events import Traced
from shoal_server.options import BatchingOptions
from shoal_server.tensors.batch import WHOLE, Array, OutputBlock, SplitError, assemble, blocks_of
from shoal_server.tensors.finite import all_finite, first_not_finite
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.padding import Member, assemble_padded, cut, is_cut
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
        """Rows (where lengths vary, padded cells) and seconds of runs before it served."""
        ...

    @property
    def steady(self) -> bool:
        """Whether a run takes as long as those before it of the same shapes, whatever the values are."""
        ...

    def run(self, inputs: Sequence[Array | None], control: Control | None) -> Sequence[Array]:
        """Compute; blocks the calling thread. Without a control there is no end before its own."""
        ...


@dataclass(slots=True)
class Run:
    """One call of the model that answered somebody: its rows (padding not counted) and nanoseconds per stage.

    ``requests`` is the number of those that it answered, ``continued`` of them with rows after their first part,
    ``began_ns`` the start by ``perf_counter_ns``, and ``members`` are those of the requests that are traced. Where
    lengths vary, ``cells`` are rows times their lengths, ``padded_cells`` what was computed for that, and ``cpu_ns``
    what the model took of its thread's processor time.
    """

    rows: int
    input_ns: int
    infer_ns: int
    output_ns: int
    requests: int = 1
    began_ns: int = 0
    members: Sequence[Traced] = ()
    continued: int = 0
    cells: int = 0
    padded_cells: int = 0
    cpu_ns: int = 0

    @property
    def cost(self) -> int:
        """What it was in the measure of the forecast."""
        return self.padded_cells or self.rows


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

    __slots__ = (
        "_cpu_ns",
        "_guarded",
        "_options",
        "_runner",
        "control",
        "has_parts",
        "origin",
        "report",
        "tickets",
        "traced",
    )

    def __init__(  # noqa: PLR0913 - what it takes to run a batch
        self,
        origin: Origin,
        runner: Runner,
        options: BatchingOptions,
        tickets: Sequence[Ticket],
        *,
        guarded: bool = False,
        cpu_ns: Callable[[], int] = thread_time_ns,
    ) -> None:
        """``cpu_ns`` tells what processor time the calling thread has had."""
        self._guarded = guarded
        self._cpu_ns = cpu_ns
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
        if key is None:
            return None
        if self.tickets[0].extent is None:
            return self.origin, key
        return self.origin, key, max([ticket.bucket for ticket in self.tickets])

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
        pad = pad and tickets[0].key is not None
        padded = self._options.padded(rows) if pad else rows
        missing_to = padded if padded > rows else 0
        members: list[Member] = []
        length = 0
        if signature.lengths is None:
            inputs = assemble(signature, [ticket.values for ticket in tickets], missing_to)
        else:
            length = max([ticket.bucket if pad else ticket.length for ticket in tickets])
            members = [Member(ticket.values, ticket.rows, ticket.length) for ticket in tickets]
            inputs = assemble_padded(signature, members, length, missing_to)
        assembled = perf_counter_ns()
        # Two calls of the kernel, which are worth it where batches are formed by what they cost.
        began_cpu = self._cpu_ns() if members else 0
        arrays = runner.run(inputs, self.control)
        cpu_ns = self._cpu_ns() - began_cpu if members else 0
        computed = perf_counter_ns()
        views: Sequence[Sequence[Array]] = ()
        if signature.lengths is not None and is_cut(signature.lengths, members, length):
            views = cut(signature, arrays, members, (padded, length))
        whole = len(tickets) == 1 and padded == rows and not views and not tickets[0].is_part
        blocks = () if views else blocks_of(signature, arrays, WHOLE if whole else padded)
        suspects = self._suspects(tickets, inputs, arrays, views) if self._guarded else ()
        if whole:
            outputs = Outputs(self.origin, blocks, tuple([block.shape(WHOLE) for block in blocks]))
            requests = int(tickets[0].succeed(outputs, 0, WHOLE))
        else:
            requests = self._answer(tickets, blocks, views, suspects)
        output_ns = perf_counter_ns() - computed
        if suspects:
            rows -= sum([suspect.rows for suspect in suspects])
        run = Run(rows, assembled - began, computed - assembled, output_ns, requests, began)
        if signature.lengths is not None:
            run.cells = sum([member.rows * member.length for member in members])
            run.padded_cells = padded * length
            run.cpu_ns = cpu_ns
        if self.traced:
            # A later part that is run as the whole of its request was told of with the first.
            told = {id(ticket.trace) for ticket in self.traced}
            run.members = [one.trace for one in tickets if one.trace is not None and id(one.trace) in told]
        if self.has_parts:
            run.continued = sum([isinstance(ticket, Part) and ticket.number > 0 for ticket in tickets])
        self.report.runs.append(run)
        for suspect in suspects:
            self._run([suspect], pad=pad)

    def _suspects(
        self,
        tickets: Sequence[Ticket],
        inputs: Sequence[Array | None],
        arrays: Sequence[Array],
        views: Sequence[Sequence[Array]],
    ) -> Sequence[Ticket]:
        """Return the members of a batch whose answers are not finite while their inputs are.

        ``views`` are each one's own part of the outputs, where it is not simply its rows.

        Raises:
            NotFinite: it is the only member.
        """
        signature = self._runner.signature
        if all(map(all_finite, signature.outputs, arrays)):
            return ()
        suspects: list[Ticket] = []
        start = 0
        for number, ticket in enumerate(tickets):
            if tickets[0].key is None:
                own, given = arrays, inputs
            else:
                rows = slice(start, start + ticket.rows)
                own = views[number] if views else [array[rows] for array in arrays]
                given = [None if array is None else array[rows] for array in inputs]
            start += ticket.rows
            place = first_not_finite(signature.outputs, own)
            if place is None or first_not_finite(signature.inputs, given) is not None:
                continue
            if len(tickets) == 1:
                raise NotFinite(f"output '{place.name}' has NaN or infinity in row {place.row}, and no input has any")
            suspects.append(ticket)
        return suspects

    def _answer(
        self,
        tickets: Sequence[Ticket],
        blocks: Sequence[OutputBlock],
        views: Sequence[Sequence[Array]],
        but: Sequence[Ticket],
    ) -> int:
        """Answer the members with their rows of the blocks, or with their own views; return how many took it."""
        requests = start = 0
        if views:
            for ticket, own in zip(tickets, views, strict=True):
                if ticket not in but:
                    mine = blocks_of(self._runner.signature, own, ticket.rows)
                    outputs = Outputs(self.origin, mine, tuple([block.tail for block in mine]))
                    requests += ticket.succeed(outputs, 0, ticket.rows)
            return requests
        outputs = Outputs(self.origin, tuple(blocks), tuple([block.tail for block in blocks]))
        for ticket in tickets:
            if ticket not in but:
                requests += ticket.succeed(outputs, start, ticket.rows)
            start += ticket.rows
        return requests
