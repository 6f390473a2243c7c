"""Every case of the ONNX project: the server answers what ONNX Runtime alone answers, byte by byte."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import NamedTuple

import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing.bare_ort import BareModel, Refused
from shoal_testing.caller import Caller, Outcome
from shoal_testing.models import save
from shoal_testing.on_the_wire import WireTensor, answered, difference, on_the_wire, request_of
from shoal_testing.onnx_cases import OnnxCase
from shoal_testing.patience import wait_up_to
from shoal_testing.server import RunningServer, running_server

_LIMIT_S = 240
_AT_ONCE = 64
_BARELY_TUNED = {"intra_op_threads": 1, "tuning_budget_s": 0.001}  # each is timed, and how fast it is changes no answer
_INDEX = "/inference.GRPCInferenceService/RepositoryIndex"

pytestmark = pytest.mark.timeout(_LIMIT_S)


class Served(NamedTuple):
    """A server, and ONNX Runtime alone with each of its models, or why it does not load it."""

    running: RunningServer
    cases: tuple[OnnxCase, ...]
    bare: Mapping[str, BareModel | Refused]
    ready_s: float


@pytest.fixture(scope="module")
def served(onnx_cases: tuple[OnnxCase, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    wait_up_to(_LIMIT_S)
    folder = tmp_path_factory.mktemp("cases")
    for case in onnx_cases:
        save(folder, case.name, case.model)
    began_s = monotonic()
    with running_server(folder, ready_s=_LIMIT_S, runtime=_BARELY_TUNED) as running:
        ready_s = monotonic() - began_s
        yield Served(running, onnx_cases, {case.name: _bare(case) for case in onnx_cases}, ready_s)


def _bare(case: OnnxCase) -> BareModel | Refused:
    try:
        return BareModel(case.model)
    except Refused as error:
        return error


@pytest.fixture
def caller(served: Served) -> Iterator[Caller]:
    with Caller(served.running.address) as connected:
        yield connected


def test_every_model_that_onnxruntime_loads_is_served_and_the_others_say_why_not(
    served: Served, caller: Caller, tell: Callable[[str], None]
) -> None:
    index = pb.RepositoryIndexResponse.FromString(caller.call(b"", _INDEX).message)
    states = {model.name: model for model in index.models}
    assert len(states) == len(served.cases)
    wrong = []
    loaded = 0
    for case in served.cases:
        ready, reason = states[case.name].state == "READY", states[case.name].reason
        bare = served.bare[case.name]
        if isinstance(bare, Refused):
            if ready or not _is_clean(reason):
                wrong.append(f"{case.name}: refused ({bare}), yet ready or unclear: {reason!r}")
            continue
        loaded += 1
        expected = "the protocol carries tensors only" if case.beyond else ""
        if ready == bool(case.beyond) or expected not in reason:
            wrong.append(f"{case.name}: loads, and is not served: {reason!r}")
    summary = f"{len(served.cases)} models, {loaded} that ONNX Runtime loads, in {served.ready_s:.1f} s"
    tell(summary)
    assert not wrong, "\n".join([summary, *wrong])


def test_every_case_is_answered_as_onnxruntime_alone_answers_it(
    served: Served, caller: Caller, tell: Callable[[str], None]
) -> None:
    wait_up_to(_LIMIT_S)
    cases = [case for case in served.cases if not case.beyond]
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    wrong = []
    for start in range(0, len(cases), _AT_ONCE):
        some = cases[start : start + _AT_ONCE]
        pending = [caller.begin(_request(case).SerializeToString()) for case in some]
        for case, call in zip(some, pending, strict=True):
            verdict, complaint = _judged(case, served.bare[case.name], call.outcome())
            verdicts[case.source][verdict] += 1
            if complaint:
                wrong.append(f"{case.name}: {complaint}")
    summary = "\n".join(_line(source, count) for source, count in verdicts.items())
    beyond = Counter(case.beyond for case in served.cases if case.beyond)
    tell(f"{summary}\n{sum(beyond.values())} that are not about tensors: {dict(beyond)}")
    assert not wrong, "\n".join([summary, *wrong])
    assert verdicts["operators"]["equal"] > 1000, summary


def _line(source: str, count: Counter[str]) -> str:
    answered_by_runtime = count["equal"] + count["random"] + count["gap"]
    return (
        f"{source}: {count.total()} cases about tensors; ONNX Runtime answers {answered_by_runtime}, the server "
        f"{answered_by_runtime - count['gap']}: {count['equal']} equal in every byte, {count['random']} random and "
        f"equal in type and shape; both refuse {count['refused']}"
    )


def _request(case: OnnxCase) -> pb.ModelInferRequest:
    return request_of(case.name, {name: on_the_wire(fed.array, fed.onnx_type) for name, fed in case.inputs.items()})


def _judged(case: OnnxCase, bare: BareModel | Refused, outcome: Outcome) -> tuple[str, str]:
    """Return what became of a case, and what is wrong with that, if anything."""
    wanted = bare if isinstance(bare, Refused) else _answer(bare, case)
    if isinstance(wanted, Refused):
        if outcome.status not in ("INVALID_ARGUMENT", "UNAVAILABLE") or not _is_clean(outcome.text):
            return "gap", f"ONNX Runtime refuses it ({wanted}), the server's end is {outcome}"
        return "refused", ""
    if outcome.status != "OK":
        return "gap", f"{outcome.status} {outcome.text}"
    got = answered(outcome.answer)
    if list(got) != list(wanted):
        return "gap", f"outputs {list(wanted)} became {list(got)}"
    if case.random:
        forms = [[(tensor.datatype, tensor.shape) for tensor in tensors.values()] for tensors in (wanted, got)]
        return ("random", "") if forms[0] == forms[1] else ("gap", f"{forms[0]} became {forms[1]}")
    apart = _apart(wanted, got)
    return ("gap", apart) if apart else ("equal", "")


def _answer(bare: BareModel, case: OnnxCase) -> dict[str, WireTensor] | Refused:
    try:
        return bare.run(case.inputs)
    except Refused as error:
        return error


def _apart(wanted: dict[str, WireTensor], got: dict[str, WireTensor]) -> str:
    differences = {name: difference(tensor, got[name]) for name, tensor in wanted.items()}
    return "; ".join(f"output {name}: {text}" for name, text in differences.items() if text)


def _is_clean(text: str) -> bool:
    """Whether a refusal says something, in one line, and nothing of the machine that ONNX Runtime was built on."""
    return bool(text) and "\n" not in text and "onnxruntime_src" not in text and text != "internal error"
