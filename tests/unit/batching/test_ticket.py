import threading
from collections.abc import Callable

import pytest

from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.errors import Cancelled, InternalError
from shoal_server.tensors.spec import Checked
from shoal_testing.fakes import RecordingResponder

OUTPUTS = Outputs(Origin("m", 1, 1), (), ())
ERROR = Cancelled("gone")


def ticket_of(responder: RecordingResponder) -> Ticket:
    return Ticket(responder, Checked((), 3, ("k",)), 10, 1.0, 2.0)


WAYS: dict[str, Callable[[Ticket], bool]] = {
    "succeed": lambda ticket: ticket.succeed(OUTPUTS, 0, 3),
    "fail": lambda ticket: ticket.fail(ERROR),
    "leave": lambda ticket: ticket.leave(),
}


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_the_first_answer_counts_and_every_later_one_does_nothing(first: str, second: str) -> None:
    responder = RecordingResponder()
    ticket = ticket_of(responder)
    assert WAYS[first](ticket)
    assert ticket.answered
    assert not WAYS[second](ticket)
    assert len(responder.answers) == (0 if first == "leave" else 1)
    assert ticket.ok == (first == "succeed")
    if first == "fail":
        assert responder.error is ERROR


def test_an_answer_that_cannot_be_encoded_becomes_an_internal_error() -> None:
    failures = [ZeroDivisionError("oh")]

    def once() -> None:
        if failures:
            raise failures.pop()

    responder = RecordingResponder(before=once)
    ticket = ticket_of(responder)
    assert ticket.succeed(OUTPUTS, 0, 3)
    assert isinstance(responder.error, InternalError)
    assert not ticket.ok


@pytest.mark.parametrize("way", ["succeed", "fail"])
def test_a_responder_that_cannot_even_fail_harms_nobody_else(way: str) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    ticket = ticket_of(RecordingResponder(before=broken))
    assert WAYS[way](ticket)
    assert ticket.answered
    assert not ticket.ok


def test_of_many_threads_that_answer_at_once_exactly_one_wins() -> None:
    rounds, threads = 200, 4
    responders = [RecordingResponder() for _ in range(rounds)]
    tickets = [ticket_of(responder) for responder in responders]
    wins: list[list[bool]] = [[] for _ in range(rounds)]
    start = threading.Barrier(threads)
    ways = [*WAYS.values(), WAYS["succeed"]]

    def answer_all(way: Callable[[Ticket], bool]) -> None:
        for ticket, won in zip(tickets, wins, strict=True):
            start.wait()
            won.append(way(ticket))

    racers = [threading.Thread(target=answer_all, args=(way,)) for way in ways]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [sum(won) for won in wins] == [1] * rounds
    assert all(len(responder.answers) <= 1 for responder in responders)


def test_a_ticket_describes_itself() -> None:
    ticket = ticket_of(RecordingResponder())
    assert repr(ticket) == "<Ticket open, 3 rows, due 2.000>"
    ticket.leave()
    assert repr(ticket) == "<Ticket answered, 3 rows, due 2.000>"
