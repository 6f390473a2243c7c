"""One batch, whatever its members and the model do: everybody is answered once, with what is theirs."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.batching.execution import BatchExecution
from shoal_server.batching.ticket import Origin, Ticket
from shoal_server.errors import ExecutionFailed, InternalError
from shoal_server.options import BatchingOptions
from shoal_testing.core import rows_of
from shoal_testing.fake_model import SERIALS, FakeModel, Kind, Poison
from shoal_testing.fakes import RecordingResponder

ERRORS = {Poison.REFUSED: ExecutionFailed, Poison.CRASH: InternalError}


@dataclass
class Member:
    rows: int
    poison: Poison | None
    leaves_in_run: int | None  # 0 is before the first


MEMBERS = st.lists(
    st.builds(
        Member,
        rows=st.integers(1, 3),
        poison=st.sampled_from([None, None, None, Poison.REFUSED, Poison.CRASH]),
        leaves_in_run=st.sampled_from([None, None, None, 0, 1, 2, 3]),
    ),
    min_size=1,
    max_size=7,
)


@given(
    MEMBERS,
    st.sampled_from([Kind.ROWS, Kind.ROWS, Kind.MIXING]),
    st.sampled_from([(), (4,), (2, 4, 8, 32), (1, 3, 9)]),
)
def test_everybody_in_any_batch_is_answered_once_with_their_own_rows(
    members: list[Member], kind: Kind, allowed_rows: tuple[int, ...]
) -> None:
    def leave(run: int) -> None:
        for ticket, member in zip(tickets, members, strict=True):
            if member.leaves_in_run == run:
                ticket.leave()

    numbers = [[index * 10 + row for row in range(member.rows)] for index, member in enumerate(members)]
    poisons = {numbers[index][0]: member.poison for index, member in enumerate(members) if member.poison}
    model = FakeModel(kind, poisons=poisons, script=lambda run: leave(run + 1))
    responders = [RecordingResponder() for _ in members]
    tickets = [
        Ticket(responder, model.signature.check(rows_of(own)), 10, 0.0, 100.0)
        for responder, own in zip(responders, numbers, strict=True)
    ]
    leave(0)
    report = BatchExecution(Origin("m", 1, 1), model, BatchingOptions(allowed_rows=allowed_rows), tickets)()

    for index, (member, responder, ticket) in enumerate(zip(members, responders, tickets, strict=True)):
        assert ticket.answered
        assert len(responder.answers) <= 1
        if not responder.answers:
            assert member.leaves_in_run is not None
            continue
        answer = responder.answer
        if member.poison is not None:
            assert isinstance(answer.error, ERRORS[member.poison])
            continue
        rows, serials = np.divmod(answer.array(), SERIALS)
        assert rows[:, 0].tolist() == numbers[index] + [0] * (kind is Kind.MIXING)
        assert (serials[: member.rows] == model.serial).all()
    for member, own in zip(members, numbers, strict=True):
        if member.leaves_in_run == 0:
            assert not model.seen & set(own)
    assert len(model.runs) <= 3 * len(members)
    assert sum(run.rows for run in report.runs) == sum(
        member.rows for member, ticket in zip(members, tickets, strict=True) if ticket.ok
    ) or any(member.leaves_in_run for member in members)
