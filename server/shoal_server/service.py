"""The use case: admit, lease, batch, answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import thread_time_ns
from typing import Final, NamedTuple

from shoal_server.admission.gate import Gate
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.burst import Burst
from shoal_server.batching.executor import BatchExecutor
from shoal_server.batching.ledger import Ledger
from shoal_server.batching.slots import Slots
from shoal_server.batching.ticket import Origin, Responder, Ticket
from shoal_server.clock import Clock
from shoal_server.errors import Again, DeadlineExceeded, InvalidRequest, Overloaded, ShoalError
from shoal_server.events import Observer, Traced
from shoal_server.lifecycle.manager import Manager
from shoal_server.lifecycle.ports import LoadedModel
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.options import FairnessOptions
from shoal_server.tensors.spec import InputForm, PlainTensors, Tensor

_SURELY_AS_FULL: Final = 1 / 4
"""Of the time in which there may be room again: for so long there is none."""


@dataclass(slots=True)
class InferenceRequest:
    """What a caller asks.

    ``version`` is a number, or empty for the newest ready. ``outputs`` names those wanted, in order; empty means all.
    ``size_bytes`` is the message's size, ``deadline_s`` monotonic seconds, and ``timeout_s`` how long it may wait for
    its batch, in place of what the model's options say. ``priority`` is 1 for the most important, 0 for the model's
    default; ``caller`` is who asks, as quotas and fairness know him, empty where nobody needs to know.
    ``trace`` is there where somebody records what happens to it.
    """

    model: str
    version: str
    tensors: Sequence[Tensor] | PlainTensors
    outputs: Sequence[str]
    size_bytes: int
    deadline_s: float | None = None
    timeout_s: float | None = None
    priority: int = 0
    caller: str = ""
    trace: Traced | None = None


class Asked(NamedTuple):
    """What requests that came together have in common: see ``InferenceRequest``, and the bytes of each input."""

    model: str
    version: str
    inputs: tuple[InputForm, ...]
    outputs: tuple[str, ...]
    sizes_bytes: list[int]


@dataclass(slots=True)
class Admission:
    """A request on its way: what it takes to take it back."""

    ticket: Ticket
    batcher: Batcher

    def cancel(self) -> None:
        """The caller left."""
        self.batcher.withdraw(self.ticket)


class InferenceService:
    """Takes requests in lists, on the loop: ``infer`` for each, then one ``flush``.

    An admitted request holds a permit of the gate and a lease on its version until it is settled.
    """

    def __init__(
        self, gate: Gate, manager: Manager[Batcher], clock: Clock, jitter: Callable[[], float] = lambda: 1.0
    ) -> None:
        """``jitter`` draws what the time to the next try is multiplied by, so that not all come back at once."""
        self._jitter = jitter
        self._gate = gate
        self._manager = manager
        self._clock = clock
        self._touched: dict[Batcher, None] = {}

    def infer(self, request: InferenceRequest, responder: Responder) -> Admission:
        """Admit a request; from here on ``responder`` gets exactly one answer.

        Raises:
            ShoalError: the request is refused; ``responder`` gets nothing.
        """
        slot = self._manager.catalog.resolve(request.model, request.version)
        batcher = slot.lease()
        admitted = False
        try:
            ticket = self._ticket(request, batcher, responder)
            ticket.caller = self._gate.admit(ticket.rows, ticket.size_bytes, ticket.caller, ticket.arrived_s)
            admitted = True
            try:
                batcher.offer(ticket)
            except BaseException:
                self._gate.release(ticket.rows, ticket.size_bytes, ticket.caller)
                raise
        except BaseException as error:
            slot.release()
            if isinstance(error, Overloaded):
                self._time_retry(error, batcher, by_queue=admitted)
            if isinstance(error, ShoalError):
                batcher.statistics.refused(error, by_queue=admitted)
            raise
        self._touched[batcher] = None
        return Admission(ticket, batcher)

    def infer_now(self, asked: Asked, burst: Burst) -> int:
        """Answer requests that came together at once, on the loop; return how many, the first ones first.

        That is none where anything speaks against it: for the others, ``infer`` has the say.
        """
        model, version, inputs, outputs, sizes_bytes = asked
        try:
            batcher = self._manager.catalog.resolve(model, version).serving()
            signature = batcher.runner.signature
            if outputs:
                signature.check_outputs(outputs)
        except ShoalError:
            return 0
        form = signature.joinable(inputs, sizes_bytes)
        if form is None or 0 < batcher.options.rows_limit < form.rows:
            return 0
        count = len(burst)
        if not self._gate.has_room(count, count * form.rows, burst.size_bytes):
            return 0
        return batcher.run_now(burst, form)

    def flush(self) -> None:
        """Let every batcher that got requests since the last flush form its batches."""
        touched, self._touched = self._touched, {}
        for batcher in touched:
            batcher.pump()

    def _time_retry(self, error: Overloaded, batcher: Batcher, *, by_queue: bool) -> None:
        """Complete what a refusal says of when to come back, and of others like it."""
        retry_after_s, bound = error.retry_after_s, error.bound
        if retry_after_s is None:
            # A place is free when a request is over, which may take several batches.
            retry_after_s = batcher.forecast.drain_s(max(batcher.forecast.full_cost, self._gate.rows_each))

        def counted(times: int) -> None:
            batcher.statistics.refused_again(bound, times, by_queue=by_queue)
            if not by_queue:
                self._gate.refused_again(bound, times)

        error.again = Again(error.late_s or retry_after_s * _SURELY_AS_FULL, retry_after_s, counted)
        error.retry_after_s = retry_after_s * self._jitter()

    def _ticket(self, request: InferenceRequest, batcher: Batcher, responder: Responder) -> Ticket:
        signature, options = batcher.runner.signature, batcher.options
        checked = signature.check(request.tensors)
        if request.outputs:
            signature.check_outputs(request.outputs)
        if options.rows_limit and checked.rows > options.rows_limit:
            raise InvalidRequest(
                f"inference request batch-size must be <= {options.rows_limit} for '{request.model}', "
                f"got {checked.rows}"
            )
        now = self._clock.monotonic()
        answer_by_s = inf if request.deadline_s is None else request.deadline_s
        if request.timeout_s is not None:
            deadline_s = min(answer_by_s, now + min(request.timeout_s, options.max_timeout_s))
        elif options.queue_limit_s:
            deadline_s = min(answer_by_s, now + options.queue_limit_s)
        else:
            deadline_s = now + options.default_timeout_s if request.deadline_s is None else answer_by_s
        if deadline_s <= now:
            raise DeadlineExceeded("the deadline had passed when the request came")
        priority = request.priority
        if not 1 <= priority <= options.priority_levels:
            priority = options.default_priority
        return Ticket(
            responder,
            checked,
            request.size_bytes,
            now,
            deadline_s,
            request.trace,
            answer_by_s,
            priority,
            request.caller,
        )


class BatcherFactory:
    """Makes the batcher of a loaded version and sees to it that what its tickets hold is given back.

    ``ledger`` has what all of them count.
    """

    def __init__(  # noqa: PLR0913 - what all batchers share
        self,
        gate: Gate,
        slots: Slots,
        executor: BatchExecutor,
        clock: Clock,
        observer: Observer,
        *,
        fairness: FairnessOptions | None = None,
        cpu_ns: Callable[[], int] = thread_time_ns,
    ) -> None:
        """``cpu_ns`` tells what processor time the calling thread has had."""
        self._cpu_ns = cpu_ns
        self._fairness = fairness
        self._gate = gate
        self._slots = slots
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self.ledger = Ledger()

    def __call__(self, slot: VersionSlot[Batcher], loaded: LoadedModel, broken: Callable[[str], None]) -> Batcher:
        """Return a batcher for the slot."""
        gate = self._gate

        def settled(tickets: Sequence[Ticket]) -> None:
            gate.release_all(tickets)
            slot.release(len(tickets))

        batching, answers = slot.definition.batching, slot.definition.answers
        if answers.needs_one_size(loaded.invariance.invariant):
            batching = batching.at_one_size()
        batcher = Batcher(
            Origin(slot.model, slot.version, slot.uid),
            loaded,
            batching.tuned(loaded.tuning.rows, loaded.tuning.pressed_rows, loaded.tuning.delay_s),
            slot.definition.runtime.instances or loaded.tuning.slots,
            slots=self._slots,
            executor=self._executor,
            clock=self._clock,
            observer=self._observer,
            fairness=self._fairness,
            answers=answers,
            cpu_ns=self._cpu_ns,
            settled=settled,
            broken=broken,
            closed=lambda: self.ledger.closed(slot.model, slot.version, batcher.statistics),
        )
        self.ledger.opened(slot.model, slot.version, batcher.statistics, self._clock.epoch())
        return batcher
