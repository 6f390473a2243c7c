"""One admitted request's place: what to compute, until when, and the one answer it is owed."""

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import ClassVar, Final, NamedTuple, Protocol

from shoal_server.batching.outcome import Outcome, outcome_of
from shoal_server.errors import InternalError, ShoalError
from shoal_server.events import Traced
from shoal_server.tensors.batch import OutputBlock
from shoal_server.tensors.spec import Checked
from shoal_server.tensors.value import Shape, Value

_OK: Final = Outcome.OK  # a member of an enum is a slow attribute before Python 3.12, and every request asks


class Origin(NamedTuple):
    """The model version that made an answer. ``uid`` tells apart two loads of the same version."""

    model: str
    version: int
    uid: int


class Outputs(NamedTuple):
    """All that one execution computed: the blocks stand in the signature's order.

    ``form`` tells what, besides the origin and the number of rows, decides the shapes of an answer.
    """

    origin: Origin
    blocks: tuple[OutputBlock, ...]
    form: tuple[Shape, ...]


class Responder(Protocol):
    """Carries one answer back to its caller. Called once, from any thread, and must not block.

    Where ``succeed`` raises, it has sent nothing, and ``fail`` is called in its place.
    """

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        """Answer with ``rows`` rows (or ``WHOLE``) of the blocks from ``start`` on."""
        ...

    def fail(self, error: ShoalError) -> None:
        """Answer with an error."""
        ...


class Ticket:
    """An admitted request.

    The loop owns a ticket while it waits; a running batch owns it until the loop hears of the batch's end. Whoever
    comes first answers: ``succeed``, ``fail`` and ``leave`` take the responder out of a one-place list, and
    ``list.pop`` is atomic, so that exactly one of them wins whichever thread it runs on.

    ``arrived_s``, ``deadline_s`` (of its wait) and ``answer_by_s`` (of the whole; the latest where the caller set none)
    are monotonic seconds, ``size_bytes`` the size of the request's message. ``priority`` is a level of the model's, 1
    the first, and ``caller`` whoever asks, empty where nobody needs to know. ``outcome`` is None until an answer was
    given; ``trace`` is there where somebody records what happens to it. ``extent`` is there where
    lengths vary.

    ``is_part`` says that it stands for some rows of another ticket; see ``parts``.
    """

    is_part: ClassVar[bool] = False

    __slots__ = (
        "_responder",
        "answer_by_s",
        "arrived_s",
        "caller",
        "deadline_s",
        "extent",
        "key",
        "outcome",
        "priority",
        "rows",
        "size_bytes",
        "trace",
        "values",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - the fields of a request; by position, as there is one for each
        self,
        responder: Responder,
        checked: Checked,
        size_bytes: int,
        arrived_s: float,
        deadline_s: float,
        trace: Traced | None = None,
        answer_by_s: float = inf,
        priority: int = 1,
        caller: str = "",
    ) -> None:
        self._responder = [responder]
        self.values: Sequence[Value | None] = checked.values
        self.rows = checked.rows
        self.key = checked.key
        self.extent = checked.extent
        self.size_bytes = size_bytes
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.answer_by_s = answer_by_s
        self.priority = priority
        self.caller = caller
        self.outcome: Outcome | None = None
        self.trace = trace

    @property
    def length(self) -> int:
        """The request's length; 0 where lengths do not vary."""
        return 0 if self.extent is None else self.extent.length

    @property
    def bucket(self) -> int:
        """The length that it is at least padded to, >= 1; 0 where lengths do not vary."""
        return 0 if self.extent is None else self.extent.bucket

    @property
    def answered(self) -> bool:
        """Whether the answer has been given, or nobody is left to take it."""
        return not self._responder

    @property
    def ok(self) -> bool:
        """Whether it was answered with results."""
        return self.outcome is Outcome.OK

    def succeed(self, outputs: Outputs, start: int, rows: int) -> bool:
        """Answer with results; return False, doing nothing, where an answer was given before."""
        try:
            responder = self._responder.pop()
        except IndexError:
            return False
        try:
            responder.succeed(outputs, start, rows)
        except Exception as error:  # noqa: BLE001 - whatever breaks the encoding, the caller is owed an answer
            self.outcome = Outcome.INTERNAL
            _fail(responder, InternalError(f"the answer could not be encoded: {error!r}"))
        else:
            self.outcome = _OK
        return True

    def fail(self, error: ShoalError, outcome: Outcome | None = None) -> bool:
        """Answer with an error; return False, doing nothing, where an answer was given before.

        ``outcome`` says more than the error's class where there is more to say.
        """
        try:
            responder = self._responder.pop()
        except IndexError:
            return False
        self.outcome = outcome or outcome_of(error)
        _fail(responder, error)
        return True

    def leave(self, outcome: Outcome = Outcome.CANCELLED) -> bool:
        """The caller is gone: drop the answer; return False where one was given before."""
        try:
            self._responder.pop()
        except IndexError:
            return False
        self.outcome = outcome
        return True

    def __repr__(self) -> str:
        state = "answered" if self.answered else "open"
        return f"<Ticket {state}, {self.rows} rows, due {self.deadline_s:.3f}>"


def _fail(responder: Responder, error: ShoalError) -> None:
    # Who cannot even be told of an error has no way back any more; the neighbours' answers must not depend on that.
    with suppress(Exception):
        responder.fail(error)
