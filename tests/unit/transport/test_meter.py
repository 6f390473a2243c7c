from shoal_server.transport.meter import OTHER, Meter
from shoal_server.transport.port import Status

INFER = "/inference.GRPCInferenceService/ModelInfer"


def test_calls_are_counted_by_method_and_status_with_their_durations_and_bytes() -> None:
    meter = Meter([INFER])
    assert meter.read() == []
    meter.ended(INFER, Status.OK, 0.002, 100, 50)
    meter.ended(INFER, Status.OK, 0.2, 100, 50)
    meter.ended(INFER, Status.CANCELLED, 1.0, 10, 0)
    ok, cancelled = meter.read()
    assert (ok.method, ok.status) == ("inference.GRPCInferenceService/ModelInfer", Status.OK)
    assert (ok.durations.size, ok.durations.total, ok.request_bytes, ok.response_bytes) == (2, 0.202, 200, 100)
    assert (cancelled.status, cancelled.durations.size, cancelled.request_bytes) == (Status.CANCELLED, 1, 10)


def test_what_is_not_routed_counts_as_one_method_whatever_its_names() -> None:
    meter = Meter([INFER])
    meter.ended(OTHER, Status.UNIMPLEMENTED, 0.0, 0, 0)
    meter.ended(OTHER, Status.UNIMPLEMENTED, 0.0, 0, 0)
    (other,) = meter.read()
    assert (other.method, other.status, other.durations.size) == ("_OTHER", Status.UNIMPLEMENTED, 2)
