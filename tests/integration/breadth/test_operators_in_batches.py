"""Every operator with rows of any number: those that are batched answer each request as if it had come alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.bare_ort import BareModel, Fed, Refused
from shoal_testing.caller import Caller, Outcome
from shoal_testing.free_rows import FreeCase, free_cases
from shoal_testing.models import save
from shoal_testing.on_the_wire import FLOATS, WireTensor, answered, distance, on_the_wire, request_of
from shoal_testing.onnx_cases import OnnxCase
from shoal_testing.patience import wait_up_to
from shoal_testing.server import RunningServer, running_server

_LIMIT_S = 240
_AT_ONCE = 100
_WAIT_MS = 250.0  # long enough for requests that were sent one after the other to become one batch
_UNTUNED = {"intra_op_threads": 1, "tuning_budget_s": 0.0}  # how fast they are changes no answer
_TOLERANCE = {"FP16": 5e-3, "BF16": 5e-2}
_FLOAT_TOLERANCE = 1e-5

pytestmark = pytest.mark.timeout(_LIMIT_S)

Answer = dict[str, WireTensor]


@pytest.fixture(scope="module")
def cases(onnx_cases: tuple[OnnxCase, ...]) -> list[FreeCase]:
    wait_up_to(_LIMIT_S)
    return [free for case in onnx_cases for free in free_cases(case)]


@pytest.fixture(scope="module")
def running(cases: Sequence[FreeCase], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("free")
    for case in cases:
        save(folder, case.name, case.model)
    with running_server(folder, ready_s=_LIMIT_S, batching={"delay_ms": _WAIT_MS}, runtime=_UNTUNED) as served:
        yield served


def test_an_operator_that_is_batched_answers_every_request_as_if_it_were_alone(
    running: RunningServer, cases: Sequence[FreeCase], tell: Callable[[str], None]
) -> None:
    wait_up_to(_LIMIT_S)
    models = running.server.manager.catalog.models
    newest = {case.name: models[case.name].newest_ready for case in cases}
    engines = {name: slot.serving() for name, slot in newest.items() if slot is not None}
    batched = [case for case in cases if case.name in engines and engines[case.name].batches]
    together = alone = 0
    wrong: list[str] = []
    with Caller(running.address) as caller:
        for start in range(0, len(batched), _AT_ONCE):
            some = batched[start : start + _AT_ONCE]
            wanted = [_wanted(case) for case in some]
            for case, answers, outcomes in zip(some, wanted, _asked(caller, some), strict=True):
                wrong += _complaints(case, answers, outcomes, exact=False)
                together += len(outcomes)
            for case, answers, outcomes in zip(some, wanted, _asked(caller, some, most=1), strict=True):
                wrong += _complaints(case, answers[:1], outcomes, exact=True)
                alone += len(outcomes)
    statistics = [engines[case.name].statistics for case in batched]
    joined = sum(total.execution_count < total.success.count for total in statistics)
    summary = (
        f"{len(cases)} models with rows, {len(engines)} served, {len(batched)} of them batched; of their requests "
        f"{alone} came alone and {together} together, which {joined} models computed in common"
    )
    tell(summary)
    assert not wrong, "\n".join([summary, *wrong])
    assert joined > len(batched) / 2, summary


def _asked(caller: Caller, cases: Sequence[FreeCase], most: int | None = None) -> Iterator[list[Outcome]]:
    """Send requests of all cases, of each one at most so many, before the first answer is awaited."""
    pending = [
        [caller.begin(_request(case, request).SerializeToString()) for request in case.requests[:most]]
        for case in cases
    ]
    for calls in pending:
        yield [call.outcome() for call in calls]


def _request(case: FreeCase, inputs: Mapping[str, Fed]) -> pb.ModelInferRequest:
    return request_of(case.name, {name: on_the_wire(fed.array, fed.onnx_type) for name, fed in inputs.items()})


def _wanted(case: FreeCase) -> list[Answer | None]:
    """Return what ONNX Runtime alone answers each request; None where it refuses."""
    model = BareModel(case.model)
    answers: list[Answer | None] = []
    for request in case.requests:
        try:
            answers.append(model.run(request))
        except Refused:
            answers.append(None)
    return answers


def _complaints(
    case: FreeCase, wanted: Sequence[Answer | None], outcomes: Sequence[Outcome], *, exact: bool
) -> Iterator[str]:
    for number, (answer, outcome) in enumerate(zip(wanted, outcomes, strict=True)):
        what = f"{case.name}, request {number}"
        if answer is None:
            if outcome.status != "INVALID_ARGUMENT":
                yield f"{what}: ONNX Runtime refuses it, the server's end is {outcome.status} {outcome.text}"
        elif outcome.status != "OK":
            yield f"{what}: {outcome.status} {outcome.text}"
        else:
            got = answered(outcome.answer)
            for name, tensor in answer.items():
                apart = distance(tensor, got[name])
                if apart > (0.0 if exact else _allowed(tensor)):
                    yield f"{what}: output {name} is {apart:.2g} apart{' though it came alone' if exact else ''}"


def _allowed(tensor: WireTensor) -> float:
    return _TOLERANCE.get(tensor.datatype, _FLOAT_TOLERANCE) if tensor.datatype in FLOATS else 0.0
