"""The operators' changes: which there are, one at a time for each model, each to its end."""

from typing import Final, Generic

from shoal_server.clock import Clock
from shoal_server.errors import InternalError, ShoalError, Unavailable
from shoal_server.events import OperationEnded, StepTaken
from shoal_server.lifecycle.changing import Changing
from shoal_server.lifecycle.keeper import STOPPING, Keeper
from shoal_server.lifecycle.keys import Keys
from shoal_server.lifecycle.ports import Resident, Source, Workers
from shoal_server.lifecycle.progress import Memory, Operation, Result, StepKind
from shoal_server.lifecycle.record import Record
from shoal_server.lifecycle.requests import Request
from shoal_server.lifecycle.slot import G
from shoal_server.lifecycle.turns import Turns

KEEP_WARM_S: Final = 300.0

_NOT_MADE: Final = "nothing has changed, and the same request can be sent to it when it has started again"


class Operations(Generic[G]):
    """Begins operations and sees them through, whoever follows them or leaves. Loop only.

    ``clerk`` are threads for what is over at once, so that nothing waits there for a load.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, each a part of the lifecycle
        self,
        keeper: Keeper[G],
        turns: Turns,
        record: Record,
        source: Source,
        *,
        workers: Workers,
        clerk: Workers,
        resident: Resident,
        clock: Clock,
        keep_warm_s: float = KEEP_WARM_S,
    ) -> None:
        self._keeper = keeper
        self._turns = turns
        self._clerk = clerk
        self._resident = resident
        self._clock = clock
        self._keys = Keys()
        self._under_way: set[Operation] = set()
        self._changing = Changing(keeper, record, source, workers, keep_warm_s)

    def begin(self, request: Request) -> Operation:
        """Begin what is asked for; or return the operation that was begun under the same key.

        Raises:
            InvalidRequest: the key was used for another request.
            Conflict: other work on the model is under way.
            Unavailable: the server is starting or shutting down.
        """
        known = self._keys.find(request)
        if known is not None:
            return known
        self._keeper.require_open()
        operation = Operation(request, self._clock)
        self._turns.begin(request.model, str(request), lambda: self._see_through(operation))
        self._under_way.add(operation)
        self._keys.remember(operation)
        self._keeper.changes.tell(request.model)
        return operation

    def leave(self) -> None:
        """Send away who follows, as the server stops: nothing is published any more, and no end is waited for."""
        for operation in self._under_way:
            made = any(step.kind is StepKind.PUBLISH for step in operation.steps)
            what = f"the {operation.request} is made, and its end is not waited for" if made else _NOT_MADE
            operation.leave(Unavailable(f"{STOPPING}: {what}"))

    async def _see_through(self, operation: Operation) -> None:
        outcome: Result | ShoalError = Unavailable(STOPPING)
        try:
            outcome = await self._measured(operation)
        except ShoalError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave those without an answer who follow
            outcome = InternalError(repr(error))
        finally:
            self._under_way.discard(operation)
            operation.end(outcome)
            self._keeper.changes.tell(operation.request.model)
            self._keeper.tell(_ended(operation, outcome))

    async def _measured(self, operation: Operation) -> Result:
        before = await self._clerk.call(self._resident.begin)
        result = await self._changing.carry_out(operation)
        after = await self._clerk.call(self._resident.look)
        memory = Memory(before.now_bytes, max(before.now_bytes, after.peak_bytes), after.now_bytes)
        return result.measured(operation, memory)


def _ended(operation: Operation, outcome: Result | ShoalError) -> OperationEnded:
    request = operation.request
    if isinstance(outcome, ShoalError):
        name = "failed"
    else:
        name = "changed" if outcome.changed else "tried" if request.dry_run else "unchanged"
    steps = tuple(
        StepTaken(step.kind.value, step.version, step.began_s, step.seconds or 0.0) for step in operation.steps
    )
    problem = str(outcome) if isinstance(outcome, ShoalError) else ""
    return OperationEnded(
        request.kind, request.model, request.about, name, problem, operation.began_s, operation.age_s, steps
    )
