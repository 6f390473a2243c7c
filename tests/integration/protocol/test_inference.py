"""ModelInfer by stock clients: what a request may say besides its tensors, and how it may end."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.grpc import InferenceServerClient, InferRequestedOutput, KeepAliveOptions
from tritonclient.utils import InferenceServerException

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.server import RunningServer, running_server
from shoal_testing.telling_models import plus
from shoal_testing.triton import asked, first_column, given, rows, status
from shoal_testing.wire import INFERENCE, Wire

WITHIN_S = 10.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    models.save(folder, "echo", models.identity("FP32", ["N", None]))
    models.save(folder, "sums", models.two_inputs_two_outputs())
    for version in (1, 2, 10):
        models.save(folder, "versions", plus(version), version)
    folder.joinpath("versions", "model.toml").write_text("[versions]\nall = true\n")
    with running_server(folder) as running:
        yield running


# --- What comes back beside the tensors ------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["", "7", "größe/魚 " * 500])
def test_the_id_comes_back(client: InferenceServerClient, request_id: str) -> None:
    response = client.infer("echo", [rows(1)], request_id=request_id).get_response()
    assert (response.id, response.model_name, response.model_version) == (request_id, "echo", "1")


def test_answers_are_raw_and_have_no_parameters(client: InferenceServerClient) -> None:
    response = client.infer("echo", [rows(1)]).get_response()
    assert len(response.raw_output_contents) == len(response.outputs) == 1
    assert not response.parameters
    assert not response.outputs[0].parameters
    assert not response.outputs[0].HasField("contents")


# --- Parameters ------------------------------------------------------------------------------------------------------


def test_a_clients_own_parameters_are_accepted(client: InferenceServerClient) -> None:
    parameters = {"text": "é", "empty": "", "yes": True, "no": False, "whole": -(1 << 63), "real": float("inf")}
    assert first_column(client.infer("echo", [rows(3)], parameters=parameters)) == [3]


def test_reserved_parameters_of_features_that_a_model_lacks_are_accepted(client: InferenceServerClient) -> None:
    result = client.infer(
        "echo", [rows(3)], priority=2, timeout=60_000_000, sequence_id=5, sequence_start=True, sequence_end=True
    )
    assert first_column(result) == [3]
    assert first_column(client.infer("echo", [rows(4)], sequence_id="by name", sequence_start=True)) == [4]


def test_parameters_of_every_kind_are_accepted_wherever_they_may_stand(wire: Wire) -> None:
    kinds = [
        pb.InferParameter(bool_param=True),
        pb.InferParameter(int64_param=-1),
        pb.InferParameter(string_param="é\0"),
        pb.InferParameter(double_param=float("nan")),
        pb.InferParameter(uint64_param=(1 << 64) - 1),
        pb.InferParameter(),
    ]
    parameters = {f"p{index}": kind for index, kind in enumerate(kinds)}
    request = pb.ModelInferRequest(
        model_name="echo",
        parameters=parameters,
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 1], parameters=parameters)],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)],
        raw_input_contents=[b"1234"],
    )
    assert wire.call(INFERENCE + "ModelInfer", request, pb.ModelInferResponse).raw_output_contents == [b"1234"]


@pytest.mark.parametrize("binary", [True, False])
def test_how_another_protocol_would_carry_an_output_is_no_matter(wire: Wire, binary: bool) -> None:  # noqa: FBT001
    request = pb.ModelInferRequest(
        model_name="echo",
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 1])],
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name="y", parameters={"binary_data": pb.InferParameter(bool_param=binary)}
            )
        ],
        raw_input_contents=[b"1234"],
    )
    assert wire.call(INFERENCE + "ModelInfer", request, pb.ModelInferResponse).raw_output_contents == [b"1234"]


# --- Requested outputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ((), ["sum", "difference"]),
        (("sum",), ["sum"]),
        (("difference",), ["difference"]),
        (("sum", "difference"), ["sum", "difference"]),
        (("difference", "sum"), ["difference", "sum"]),
    ],
)
def test_the_outputs_asked_for_come_in_the_order_asked_for(
    client: InferenceServerClient, names: tuple[str, ...], wanted: list[str]
) -> None:
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.float32)
    result = client.infer("sums", [given("b", b), given("a", a)], outputs=asked(*names))
    assert [output.name for output in result.get_response().outputs] == wanted
    for name in wanted:
        assert result.as_numpy(name).tolist() == (a + b if name == "sum" else a - b).tolist()


def test_an_output_that_the_model_lacks_is_refused_by_name(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("echo", [rows(1)], outputs=asked("y", "z"))
    assert status(caught.value) == "INVALID_ARGUMENT"
    assert caught.value.message() == "unknown output 'z'; the model gives ['y']"


# --- Versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "answers"), [("", 10), ("1", 1), ("2", 2), ("10", 10)])
def test_the_version_asked_for_answers_and_else_the_newest(
    client: InferenceServerClient, version: str, answers: int
) -> None:
    result = client.infer("versions", [rows(0)], model_version=version)
    assert first_column(result) == [answers]
    assert result.get_response().model_version == str(answers)


@pytest.mark.parametrize("version", ["3", "latest", "-1", "01x", "9" * 30])
def test_a_version_that_is_not_there_is_not_found(client: InferenceServerClient, version: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("versions", [rows(0)], model_version=version)
    assert status(caught.value) == "NOT_FOUND"
    assert "it has [1, 2, 10]" in caught.value.message()


def test_a_model_that_is_not_there_is_not_found(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("nobody", [rows(0)])
    assert (status(caught.value), caught.value.message()) == ("NOT_FOUND", "unknown model 'nobody'")


# --- The connection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_understood(served: RunningServer, algorithm: str) -> None:
    numbers = np.repeat(np.arange(64, dtype=np.float32)[:, None], 1024, axis=1)

    with InferenceServerClient(served.address) as client:
        result = client.infer("echo", [given("x", numbers)], compression_algorithm=algorithm)
        assert np.array_equal(result.as_numpy("y"), numbers)

    async def main() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(served.address) as client:
            result = await client.infer("echo", [given("x", numbers)], compression_algorithm=algorithm)
            assert np.array_equal(result.as_numpy("y"), numbers)

    asyncio.run(main())


@pytest.mark.parametrize("permit_without_calls", [True, False])
def test_clients_that_keep_their_connection_alive_are_served(
    served: RunningServer,
    permit_without_calls: bool,  # noqa: FBT001 - the option under test
) -> None:
    options = KeepAliveOptions(
        keepalive_time_ms=10_000,
        keepalive_timeout_ms=5_000,
        keepalive_permit_without_calls=permit_without_calls,
        http2_max_pings_without_data=0,
    )
    with InferenceServerClient(served.address, keepalive_options=options) as client:
        assert first_column(client.infer("echo", [rows(1)])) == [1]


def test_many_clients_at_once_get_their_own_answers(served: RunningServer) -> None:
    clients, calls = 48, 10
    together = threading.Barrier(clients)

    def run(number: int) -> list[list[float]]:
        channel = [("grpc.use_local_subchannel_pool", 1)]
        with InferenceServerClient(served.address, channel_args=channel) as client:
            together.wait(WITHIN_S)
            return [first_column(client.infer("echo", [rows(number, call)])) for call in range(calls)]

    with ThreadPoolExecutor(clients) as threads:
        answers = list(threads.map(run, range(clients)))
    assert answers == [[[number, call] for call in range(calls)] for number in range(clients)]


# --- What is not offered ---------------------------------------------------------------------------------------------


def _classified(client: InferenceServerClient) -> object:
    return client.infer("echo", [rows(1)], outputs=[InferRequestedOutput("y", class_count=1)])


def _input_in_shared_memory(client: InferenceServerClient) -> object:
    return client.infer("echo", [rows(1).set_shared_memory("region", 8)])


def _output_in_shared_memory(client: InferenceServerClient) -> object:
    output = InferRequestedOutput("y")
    output.set_shared_memory("region", 8)
    return client.infer("echo", [rows(1)], outputs=[output])


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (_classified, "output 'y': the classification extension is not offered"),
        (_input_in_shared_memory, "input 'x': shared memory is not offered by this server"),
        (_output_in_shared_memory, "output 'y': shared memory is not offered by this server"),
        (lambda client: client.get_system_shared_memory_status(), "Method not found!"),
        (lambda client: client.register_system_shared_memory("region", "/key", 8), "Method not found!"),
        (lambda client: client.get_trace_settings(), "Method not found!"),
        (lambda client: client.update_log_settings({"log_info": True}), "Method not found!"),
    ],
    ids=["classification", "shared input", "shared output", "shared status", "shared register", "trace", "log"],
)
def test_extensions_that_are_not_offered_are_unimplemented(
    client: InferenceServerClient,
    call: Callable[[InferenceServerClient], object],
    complaint: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert (status(caught.value), caught.value.message()) == ("UNIMPLEMENTED", complaint)


def test_a_message_that_is_no_request_is_refused(wire: Wire) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(INFERENCE + "ModelInfer", b"\xff\xff", pb.ModelInferResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "malformed request: the message is not a ModelInferRequest"
