"""What is planned from settings: which addresses, which methods on each, and what is refused."""

from pathlib import Path

import pytest

from shoal_server.config import ConfigError, Settings
from shoal_server.events import Event
from shoal_server.listeners import Place, check_settings, is_loopback, places, tls_files
from shoal_server.transport.port import Call, Routes, Stream, TlsMaterial

OIP = "/inference.GRPCInferenceService/"
ADMIN = "/shoal.admin.v1.AdminService/"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
MTLS = TlsMaterial(b"certificate", b"key", b"ca")


async def cold(_call: Call) -> None:
    """Never called."""


async def stream(_stream: Stream) -> None:
    """Never called."""


ROUTES = Routes(
    hot={OIP + "ModelInfer": lambda _calls: None},
    cold=dict.fromkeys(
        [
            *(OIP + name for name in ("ServerLive", "ServerReady", "ModelMetadata")),
            *(OIP + "Repository" + name for name in ("Index", "ModelLoad", "ModelUnload")),
            HEALTH + "Check",
            ADMIN + "ListModels",
        ],
        cold,
    ),
    streams=dict.fromkeys([OIP + "ModelStreamInfer", HEALTH + "Watch", REFLECTION, ADMIN + "SwapVersion"], stream),
    first_message_only=frozenset({HEALTH + "Watch", ADMIN + "SwapVersion"}),
)


def settings(**fields: object) -> Settings:
    return Settings.model_validate(fields)


def planned(material: TlsMaterial | None = None, **fields: object) -> dict[str, Place]:
    def tell(_event: Event) -> None:
        pytest.fail("nobody called")

    return {place.key: place for place in places(settings(**fields), ROUTES, material, tell)}


def methods(place: Place) -> set[str]:
    return {*place.routes.hot, *place.routes.cold, *place.routes.streams}


ALL = {*ROUTES.hot, *ROUTES.cold, *ROUTES.streams}


def test_one_address_has_everything_unless_more_are_configured() -> None:
    [place] = planned().values()
    assert methods(place) == ALL
    assert place.routes.hot == ROUTES.hot, "nothing stands before the hot path"
    assert place.routes.cold[OIP + "ModelMetadata"] is cold
    assert place.routes.cold[ADMIN + "ListModels"] is not cold
    assert place.routes.streams[ADMIN + "SwapVersion"] is not stream
    assert place.routes.first_message_only == ROUTES.first_message_only


def test_operators_have_an_address_of_their_own_where_one_is_configured() -> None:
    places_by_key = planned(MTLS, admin={"address": "127.0.0.1:1"})
    everybody, operators = places_by_key["address"], places_by_key["admin.address"]
    assert methods(everybody) == ALL - {ADMIN + "ListModels", ADMIN + "SwapVersion"}
    assert methods(operators) == ALL, "who infers there is told where to"
    assert not operators.routes.hot
    assert operators.routes.cold[OIP + "ModelMetadata"] is cold
    assert operators.routes.streams[OIP + "ModelStreamInfer"] is not stream
    assert operators.tls == MTLS
    assert operators.options.address == "127.0.0.1:1"


def test_probes_get_health_alone_and_no_tls() -> None:
    probes = planned(MTLS, probe={"address": "0.0.0.0:2"})["probe.address"]
    assert methods(probes) == {HEALTH + "Check", HEALTH + "Watch", OIP + "ServerLive", OIP + "ServerReady"}
    assert probes.routes.first_message_only == {HEALTH + "Watch"}
    assert probes.tls is None


def test_connections_grow_as_old_as_configured() -> None:
    options = planned(MTLS, tls={"max_connection_age_s": 5.0}, grace_s=7.0)["address"].options
    assert (options.max_connection_age_s, options.connection_grace_s) == (5, 7)


def test_everybodys_bytes_are_carried_by_as_many_threads_as_configured_and_others_by_one() -> None:
    places_by_key = planned(MTLS, runtime={"io_threads": 4}, admin={"address": "127.0.0.1:1"})
    assert {key: place.options.io_threads for key, place in places_by_key.items()} == {"address": 4, "admin.address": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"address": "0.0.0.0:1"}, r"address 0\.0\.0\.0:1 can be reached.*set tls.certificate and tls.key.*--insecure"),
        ({"address": "[::]:1"}, r"address \[::\]:1 can be reached"),
        ({"address": "inference.internal:1"}, "address inference.internal:1 can be reached"),
        ({"admin": {"address": "10.0.0.1:1"}}, r"admin.address 10\.0\.0\.1:1 can be reached"),
        ({"callers": {"quotas": ["* concurrency=1"]}}, "callers.quotas is set, but callers.by is off"),
        ({"callers": {"weights": ["a=2"]}}, "callers.weights is set, but callers.by is off"),
        ({"admin": {"identities": ["dns:a"]}}, "admin.identities names who.*without tls.client_ca"),
        ({"admin": {"identities": ["a.example"]}}, "'a.example' is no identity; wanted spiffe"),
    ],
)
def test_what_would_let_in_whom_the_settings_do_not_mean_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_settings(settings(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"address": "localhost:1"},
        {"address": "[::1]:1"},
        {"address": "127.0.0.9:1"},
        {"probe": {"address": "0.0.0.0:1"}},
        {"address": "0.0.0.0:1", "insecure": True},
        {"address": "0.0.0.0:1", "tls": {"certificate": "c", "key": "k"}},
        {"admin": {"identities": ["dns:a"]}, "tls": {"certificate": "c", "key": "k", "client_ca": "a"}},
    ],
)
def test_what_the_settings_mean_is_served(fields: dict[str, object]) -> None:
    check_settings(settings(**fields))


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"certificate": "c"}, "tls.certificate is set and tls.key is not"),
        ({"key": "k"}, "tls.key is set and tls.certificate is not"),
        ({"client_ca": "a"}, "tls.client_ca asks callers for certificates"),
    ],
)
def test_half_a_configuration_of_tls_is_refused(tls: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tls_files(settings(tls=tls))


def test_no_tls_is_no_files_and_mtls_is_three() -> None:
    assert tls_files(settings()) is None
    files = tls_files(settings(tls={"certificate": "c", "key": "k", "client_ca": "a"}))
    assert files is not None
    assert files.client_ca == Path("a")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.1.2.3", True), ("[::1]", True), ("0.0.0.0", False), ("[::]", False), ("box", False)],  # noqa: S104 - asked, not bound
)
def test_which_hosts_only_this_machine_reaches(*, host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
