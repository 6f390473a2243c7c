"""Which calls are traced, and when the record of one is complete."""

from dataclasses import dataclass, field
from random import Random

import pytest

from shoal_server.events import BatchEnded, OperationEnded, Traced
from shoal_server.telemetry.request_trace import BatchTrace, OperationTrace, Record, RequestTrace
from shoal_server.telemetry.tracer import Tracer
from shoal_server.transport.port import Metadata, Peer, Status

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


@dataclass
class FakeCall:
    """As much of a call as a tracer looks at."""

    metadata: Metadata = ()
    method: str = "/a.B/C"
    message: bytes = b""
    deadline_s: float | None = None
    peer: Peer = field(default_factory=lambda: Peer("ipv4:127.0.0.1:5000"))
    trace: None = None

    def reply(self, message: bytes) -> None: ...

    def fail(self, status: Status, text: str, trailers: Metadata = ()) -> None: ...

    def hold(self, *_refusal: object) -> bool:
        return False

    def on_cancel(self, left: object) -> None: ...


def parent(*, sampled: bool, trace: int = TRACE) -> FakeCall:
    return FakeCall([("user-agent", "x"), ("traceparent", f"00-{trace:032x}-{SPAN:016x}-0{int(sampled)}")])


def tracer(ratio: float, seed: int = 0, *, callers: bool = True) -> tuple[Tracer, list[Record]]:
    done: list[Record] = []
    return Tracer(ratio, done.append, Random(seed), callers=callers), done


def batch_of(*members: Traced) -> BatchEnded:
    return BatchEnded("m", 1, 2, 2, "full", 1.0, 2.0, broken=False, members=members, arrived_s=(0.5,), runs=())


def test_the_ratio_of_calls_without_a_trace_is_traced(seed: int) -> None:
    chosen, _ = tracer(0.1, seed)
    traced = sum(chosen.begin(FakeCall()) is not None for _ in range(10_000))
    assert 800 < traced < 1200
    assert all(tracer(1.0)[0].begin(FakeCall()) for _ in range(100))
    assert not any(tracer(0.0)[0].begin(FakeCall()) for _ in range(100))


def test_calls_are_chosen_as_by_comparing_an_id_of_each(seed: int) -> None:
    chosen, _ = tracer(0.25, seed)
    found = [trace for _ in range(40_000) if (trace := chosen.begin(FakeCall()))]
    assert len({trace.trace_number for trace in found}) == len(found)
    low = [trace.trace_number % (1 << 64) / (1 << 64) for trace in found]
    assert max(low) < 0.25, "a server of the same ratio that is called within such a trace traces the call, too"
    assert sum(low) / len(low) == pytest.approx(0.125, abs=0.005)
    # Each has the same chance, whatever became of the one before.
    chosen, _ = tracer(0.25, seed)
    drawn = [chosen.begin(FakeCall()) is not None for _ in range(40_000)]
    after = [drawn[place + 1] for place in range(len(drawn) - 1) if drawn[place]]
    assert sum(drawn) / len(drawn) == pytest.approx(0.25, abs=0.02)
    assert sum(after) / len(after) == pytest.approx(0.25, abs=0.03)


def known(trace: RequestTrace | None) -> tuple[int, int] | None:
    return None if trace is None else (trace.trace_number, trace.parent_id)


@pytest.mark.parametrize("ratio", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("carrying", [0.0, 0.1, 1.0])
def test_which_of_a_list_are_traced_is_as_if_they_had_come_one_by_one(ratio: float, carrying: float, seed: int) -> None:
    random = Random(seed)
    headers = [parent(sampled=True), parent(sampled=False), FakeCall([("traceparent", "nonsense")])]
    calls = [random.choice(headers) if random.random() < carrying else FakeCall() for _ in range(2000)]
    one_by_one, _ = tracer(ratio, seed)
    wanted = [known(one_by_one.begin(call)) for call in calls]
    in_lists, _ = tracer(ratio, seed)
    found: list[tuple[int, int] | None] = []
    while len(found) < len(calls):
        some = calls[len(found) : len(found) + random.randint(1, 50)]
        traced = dict(in_lists.begin_all(some))
        assert list(traced) == sorted(traced)
        found += [known(traced.get(place)) for place in range(len(some))]
    assert found == wanted


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_callers_own_trace_decides_whatever_the_ratio(ratio: float) -> None:
    chosen, _ = tracer(ratio)
    assert chosen.begin(parent(sampled=False)) is None
    trace = chosen.begin(parent(sampled=True))
    assert trace is not None
    assert (trace.trace_number, trace.parent_id, trace.name) == (TRACE, SPAN, "a.B/C")
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_without_callers_deciding_servers_of_one_ratio_agree_on_a_trace(seed: int) -> None:
    first, _ = tracer(0.5, seed, callers=False)
    second, _ = tracer(0.5, seed + 1, callers=False)
    numbers = Random(seed)
    calls = [parent(sampled=False, trace=numbers.getrandbits(128) or 1) for _ in range(200)]
    decided = [first.begin(call) is not None for call in calls]
    assert decided == [second.begin(call) is not None for call in calls]
    assert 50 < sum(decided) < 150


def test_a_request_that_is_not_dispatched_is_complete_when_it_ends_and_ends_once() -> None:
    chosen, done = tracer(1.0)
    trace = chosen.begin(FakeCall())
    assert trace is not None
    trace.end(Status.DEADLINE_EXCEEDED, "late")
    trace.end(Status.OK, "")
    assert done == [trace]
    assert (trace.status, trace.text) == (Status.DEADLINE_EXCEEDED, "late")


@pytest.mark.parametrize("answered_first", [True, False])
def test_a_request_that_is_dispatched_is_complete_when_its_batch_is_too(answered_first: bool) -> None:  # noqa: FBT001
    chosen, done = tracer(1.0)
    trace = chosen.begin(FakeCall())
    assert trace is not None
    trace.dispatched = True
    if answered_first:
        trace.end(Status.OK, "")
    else:
        chosen.observe(batch_of(trace))
    assert trace not in done
    if answered_first:
        chosen.observe(batch_of(trace))
    else:
        trace.end(Status.OK, "")
    (batch,) = [record for record in done if isinstance(record, BatchTrace)]
    assert [record for record in done if isinstance(record, RequestTrace)] == [trace]
    assert trace.batch is batch


def test_a_request_within_a_stream_belongs_to_the_streams_trace() -> None:
    chosen, done = tracer(1.0)
    stream = chosen.begin(FakeCall())
    assert stream is not None
    request = stream.inner("request")
    request.note({"rows": 3})
    request.end(Status.OK, "")
    assert done == [request]
    assert (request.trace_number, request.parent_id) == (stream.trace_number, stream.number)
    assert request.attributes == {"rows": 3}


def test_every_operation_is_traced() -> None:
    chosen, done = tracer(0.0)
    event = OperationEnded("swap", "m", 2, "changed", "", 1.0, 0.5, ())
    chosen.observe(event)
    (record,) = done
    assert isinstance(record, OperationTrace)
    assert record.event is event


def test_a_tracestate_of_an_absurd_length_is_left_behind() -> None:
    chosen, _ = tracer(0.0)
    header = ("traceparent", f"00-{TRACE:032x}-{SPAN:016x}-01")
    short, long = (chosen.begin(FakeCall([header, ("tracestate", "v=" + "x" * size)])) for size in (10, 1000))
    assert short is not None
    assert long is not None
    assert (short.state, long.state) == ("v=xxxxxxxxxx", "")
