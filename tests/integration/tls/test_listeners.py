"""Three listeners of one server: what each answers to whom, and what is written about operators' calls."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.caller import Caller, Outcome
from shoal_testing.certificates import ADMIN, CALLER, LOCAL, Authority
from shoal_testing.server import running_server
from shoal_testing.trusted import LIST_MODELS, REPOSITORY_LOAD, credentials, infers

CHECK = "/grpc.health.v1.Health/Check"
METADATA = "/inference.GRPCInferenceService/ModelMetadata"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
INDEX = "/inference.GRPCInferenceService/RepositoryIndex"
SERVER_READY = "/inference.GRPCInferenceService/ServerReady"
ANYWHERE = {"address": "127.0.0.1:0"}


class Addresses:
    """Where everybody, operators and probes call; ``ca`` vouches for all."""

    def __init__(self, ca: Authority, addresses: list[str]) -> None:
        self.ca = ca
        self.everybody, self.operators, self.probes = addresses

    @contextmanager
    def caller(self, address: str, name: str = ADMIN) -> Iterator[Caller]:
        with Caller(address, credentials(self.ca.certificate, self.ca.issue(name))) as caller:
            yield caller


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    folder: Path = tmp_path_factory.mktemp("served")
    models.save(folder / "models", "m", models.identity())
    ca = Authority()
    certificate, key = ca.issue(*LOCAL).write(folder, "server")
    (folder / "ca.pem").write_bytes(ca.certificate)
    tls = {"certificate": certificate, "key": key, "client_ca": folder / "ca.pem"}
    admin = {**ANYWHERE, "identities": [ADMIN]}
    with running_server(folder / "models", tls=tls, admin=admin, probe=ANYWHERE) as running:
        summary = running.server.summary()
        words = summary.replace(",", "").split()
        yield Addresses(ca, [word for word in words if word.startswith("127.0.0.1:")])


def test_everybody_infers_and_nobody_administers_where_operators_have_their_own_place(served: Addresses) -> None:
    with served.caller(served.everybody) as caller:
        assert infers(caller) == "OK"
        assert caller.call(b"", CHECK).status == "OK"
        assert caller.call(b"", LIST_MODELS).status == "UNIMPLEMENTED"
        refused = caller.call(b"", REPOSITORY_LOAD)
        assert (refused.status, "admin.address" in refused.text) == ("PERMISSION_DENIED", True)


def test_operators_administer_in_their_own_place_and_do_not_infer_there(served: Addresses) -> None:
    with served.caller(served.operators) as caller:
        assert caller.call(b"", LIST_MODELS).status == "OK"
        assert caller.call(b"", REPOSITORY_LOAD).status == "NOT_FOUND"  # there is no model without a name
        assert caller.call(b"", INDEX).status == "OK"
        assert caller.call(b"", CHECK).status == "OK"
        assert caller.call(pb.ModelMetadataRequest(name="m").SerializeToString(), METADATA).status == "OK"
        here = "inference is served at the server's `address`, not at admin.address"
        assert caller.call(b"") == Outcome("UNIMPLEMENTED", here)
        assert caller.exchange([b""], STREAM) == ([], Outcome("UNIMPLEMENTED", here))
    with served.caller(served.operators, CALLER) as caller:
        assert caller.call(b"", LIST_MODELS).status == "PERMISSION_DENIED"
        assert caller.call(b"", REPOSITORY_LOAD).status == "PERMISSION_DENIED"


def test_probes_ask_without_a_certificate_and_for_health_alone(served: Addresses) -> None:
    with Caller(served.probes) as probe:
        assert probe.call(b"", CHECK).status == "OK"
        assert probe.call(b"", SERVER_READY).status == "OK"
        assert infers(probe) == "UNIMPLEMENTED"
        for method in (LIST_MODELS, REPOSITORY_LOAD, INDEX):
            assert probe.call(b"", method).status == "UNIMPLEMENTED"


def test_nobody_gets_in_without_a_certificate_anywhere_else(served: Addresses) -> None:
    for address in (served.everybody, served.operators):
        for shown in (None, credentials(served.ca.certificate, None)):
            with Caller(address, shown) as caller:
                assert caller.call(b"", CHECK, timeout_s=5).status == "UNAVAILABLE"


def test_each_decision_about_an_operator_is_one_line(served: Addresses, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shoal")
    with served.caller(served.operators) as operator, served.caller(served.operators, CALLER) as caller:
        operator.call(b"", LIST_MODELS)
        caller.call(b"", LIST_MODELS)
        infers(operator)
    with served.caller(served.everybody) as elsewhere:
        elsewhere.call(b"", REPOSITORY_LOAD)
    lines = [record for record in caplog.records if "admin call" in record.getMessage()]
    assert [record.levelname for record in lines] == ["INFO", "WARNING", "WARNING"]
    texts = [record.getMessage() for record in lines]
    assert texts[0].startswith(f"admin call {LIST_MODELS} allowed for '{ADMIN}' from ipv4:127.0.0.1:")
    assert texts[1].startswith(f"admin call {LIST_MODELS} refused for '{CALLER}' from ipv4:127.0.0.1:")
    assert texts[2].startswith(f"admin call {REPOSITORY_LOAD} refused for '{ADMIN}' from ipv4:127.0.0.1:")
