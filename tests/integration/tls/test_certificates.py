"""Who gets in with which certificate, by grpcio's client and by openssl's."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shoal.admin import admin_pb2
from shoal_testing.certificates import ADMIN, CALLER, Authority, Pair, self_signed
from shoal_testing.openssl import s_client
from shoal_testing.triton import eventually
from shoal_testing.trusted import LIST_MODELS, REPOSITORY_LOAD, TrustedServer, infers, trusted_server

DAY = timedelta(days=1)
REFUSED_BY_TLS = "UNAVAILABLE"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustedServer]:
    with trusted_server(tmp_path_factory.mktemp("served")) as server:
        yield server


SHOWN: dict[str, Callable[[Authority], Pair | None]] = {
    "none": lambda _ca: None,
    "self-signed": lambda _ca: self_signed(ADMIN),
    "other CA": lambda _ca: Authority("other CA").issue(ADMIN),
    "other CA of the same name": lambda _ca: Authority().issue(ADMIN),
    "expired": lambda ca: ca.issue(ADMIN, begins=-2 * DAY, ends=-DAY),
    "not valid yet": lambda ca: ca.issue(ADMIN, begins=DAY, ends=2 * DAY),
    "wrong SAN": lambda ca: ca.issue("spiffe://other.example/admin", "admin.example"),
    "SAN of the admin beside another": lambda ca: ca.issue(ADMIN, "spiffe://other.example/"),
    "admin's SPIFFE id as a subject": lambda ca: ca.issue(subject=ADMIN),
    "no name at all": lambda ca: ca.issue(),
    "right, not an admin": lambda ca: ca.issue(CALLER),
    "right": lambda ca: ca.issue(ADMIN),
    "right, by an intermediate CA": lambda ca: Authority("between", parent=ca).issue(ADMIN),
}
"""The certificate that a caller of each kind shows."""

MATRIX = [
    ("none", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("self-signed", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("other CA", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("other CA of the same name", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("expired", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("not valid yet", REFUSED_BY_TLS, REFUSED_BY_TLS),
    ("wrong SAN", "OK", "PERMISSION_DENIED"),
    ("SAN of the admin beside another", "OK", "PERMISSION_DENIED"),
    ("admin's SPIFFE id as a subject", "OK", "PERMISSION_DENIED"),
    ("no name at all", "OK", "PERMISSION_DENIED"),
    ("right, not an admin", "OK", "PERMISSION_DENIED"),
    ("right", "OK", "OK"),
    ("right, by an intermediate CA", "OK", "OK"),
]


@pytest.mark.parametrize(("kind", "inference", "administration"), MATRIX, ids=[row[0] for row in MATRIX])
def test_a_certificate_lets_its_bearer_do_what_it_proves(
    served: TrustedServer, kind: str, inference: str, administration: str
) -> None:
    with served.caller(SHOWN[kind](served.authority)) as caller:
        assert infers(caller) == inference
        assert caller.call(b"", LIST_MODELS, timeout_s=5).status == administration
        expected = "NOT_FOUND" if administration == "OK" else administration  # there is no model without a name
        assert caller.call(b"", REPOSITORY_LOAD, timeout_s=5).status == expected


def test_a_refused_operator_reads_who_it_is_and_where_to_name_it(served: TrustedServer) -> None:
    with served.caller(served.authority.issue(CALLER)) as caller:
        told = caller.call(b"", LIST_MODELS)
        assert told.status == "PERMISSION_DENIED"
        assert CALLER in told.text
        assert "admin.identities" in told.text
    with served.caller(served.authority.issue(ADMIN)) as caller:
        answer = admin_pb2.ListModelsResponse.FromString(caller.call(b"", LIST_MODELS).message)
        assert [model.name for model in answer.models] == ["m"]


def test_a_caller_refuses_a_server_of_another_ca_or_name(served: TrustedServer) -> None:
    with served.caller(served.authority.issue(ADMIN), trusting=Authority("other CA")) as caller:
        assert infers(caller) == REFUSED_BY_TLS


@pytest.mark.parametrize("names", [("elsewhere.example", "10.0.0.1"), ()])
def test_a_caller_refuses_a_server_without_the_name_that_it_called(tmp_path: Path, names: tuple[str, ...]) -> None:
    with trusted_server(tmp_path) as server:
        server.authority.issue(*names, subject="localhost").write(tmp_path, "server")
        with server.caller(server.authority.issue(ADMIN)) as early:
            assert infers(early) == "OK"
        # Each is a caller of its own: those that come after the renewal find the wrong name.
        assert eventually(lambda: _infers_once(server), REFUSED_BY_TLS) == REFUSED_BY_TLS


def _infers_once(server: TrustedServer) -> str:
    with server.caller(server.authority.issue(ADMIN)) as caller:
        return infers(caller)


@pytest.mark.parametrize(("version", "let_in"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_openssl_gets_in_by_tls_1_2_and_1_3_and_not_by_less(
    served: TrustedServer, version: str, *, let_in: bool
) -> None:
    pair = served.authority.issue(ADMIN)
    talk = s_client(served.running.address, served.files, pair, version, "-cipher", "DEFAULT@SECLEVEL=0")
    assert talk.heard == let_in, talk.said
    # It is the server that says no, and not openssl that does not ask.
    assert let_in or " alert " in talk.said or "unexpected eof" in talk.said, talk.said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(("kind", "inference", "_administration"), MATRIX, ids=[row[0] for row in MATRIX])
def test_openssl_is_let_in_with_the_certificates_that_grpcio_is_let_in_with(
    served: TrustedServer, kind: str, inference: str, _administration: str, version: str
) -> None:
    talk = s_client(served.running.address, served.files, SHOWN[kind](served.authority), version)
    assert talk.heard == (inference == "OK"), talk.said
