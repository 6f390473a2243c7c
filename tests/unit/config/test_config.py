from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shoal_server.config import OPTIONS, ConfigError, Configuration, Settings, load
from shoal_server.options import (
    AdmissionOptions,
    BatchingOptions,
    CallerKey,
    CallerOptions,
    FairnessOptions,
    QuotaOptions,
    RuntimeOptions,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a shoal.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(flags: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, environ=environ or {})
    return str(caught.value)


def test_defaults_serve_without_any_configuration() -> None:
    configuration = load({}, environ={})
    assert configuration.settings == Settings()
    assert not configuration.origins
    assert configuration.settings.address == "127.0.0.1:8001"


def test_flags_beat_variables_beat_the_file_beats_defaults(folder: Path) -> None:
    (folder / "shoal.toml").write_text("grace_s = 1\n[limits]\nmax_requests = 11\nmax_rows = 12\nmax_bytes = 13\n")
    environ = {"SHOAL_LIMITS__MAX_ROWS": "22", "SHOAL_LIMITS__MAX_BYTES": "23"}
    configuration = load({"limits.max_bytes": "33"}, environ=environ)
    in_force = configuration.settings
    assert in_force.limits.options() == AdmissionOptions(11, 22, 33)
    assert (in_force.grace_s, in_force.log_level) == (1.0, "info")
    assert dict(configuration.origins) == {
        "grace_s": "shoal.toml",
        "limits.max_requests": "shoal.toml",
        "limits.max_rows": "SHOAL_LIMITS__MAX_ROWS",
        "limits.max_bytes": "--limits-max-bytes",
    }
    assert configuration.value("limits.max_rows") == 22


def test_a_file_that_is_named_is_read_in_place_of_shoal_toml(folder: Path) -> None:
    (folder / "shoal.toml").write_text("grace_s = 1")
    (folder / "by_flag.toml").write_text("grace_s = 2")
    (folder / "by_variable.toml").write_text("grace_s = 3")
    environ = {"SHOAL_CONFIG": "by_variable.toml"}
    assert load({}, environ=environ).settings.grace_s == 3
    assert load({}, file=Path("by_flag.toml"), environ=environ).settings.grace_s == 2


def test_models_in_a_file_are_found_from_where_the_file_is(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "shoal.toml").write_text("models = 'mine'")
    assert load({}, file=Path("etc/shoal.toml"), environ={}).settings.models == Path("etc/mine")
    assert load({}, environ={"SHOAL_MODELS": "mine"}).settings.models == Path("mine")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("adress = ':1'", ["shoal.toml", "unknown key adress", "did you mean address?"]),
        ("port = 8001", ["unknown key port", "did you mean address?"]),
        ("[limits]\nmax_row = 1", ["unknown key limits.max_row", "did you mean limits.max_rows?"]),
        ("[limit]\nmax_rows = 1", ["unknown key limit", "did you mean limits?"]),
        ("delay_ms = 1", ["unknown key delay_ms", "did you mean batching.delay_ms?"]),
        ("[runtime]\ndelay_ms = 1", ["unknown key runtime.delay_ms", "did you mean batching.delay_ms?"]),
        ("xyzzy = 1", ["unknown key xyzzy"]),
        ("[xyzzy]", ["unknown key xyzzy"]),
        ("limits = 3", ["limits is a section", "[limits]", "got 3"]),
    ],
)
def test_an_unknown_key_in_the_file_is_named_with_the_nearest_known_one(
    folder: Path, toml: str, words: list[str]
) -> None:
    (folder / "shoal.toml").write_text(toml)
    text = complaint()
    assert all(word in text for word in words), text
    assert ("did you mean" in text) == any("did you mean" in word for word in words), text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SHOAL_ADRESS", "SHOAL_ADDRESS"),
        ("SHOAL_PORT", "SHOAL_ADDRESS"),
        ("SHOAL_GRACE", "SHOAL_GRACE_S"),
        ("SHOAL_LIMIT__MAX_ROWS", "SHOAL_LIMITS__MAX_ROWS"),
        ("SHOAL_BATCH__MAX_ROWS", "SHOAL_BATCHING__MAX_ROWS"),
        ("SHOAL_MAX_ROWS", "SHOAL_LIMITS__MAX_ROWS"),
        ("SHOAL_BATCHING_DELAY_MS", "SHOAL_BATCHING__DELAY_MS"),
        ("SHOAL_address", "SHOAL_ADDRESS"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known_one(name: str, meant: str) -> None:
    assert complaint(environ={name: "1"}) == f"the variable {name} sets nothing that exists; did you mean {meant}?"


def test_a_variable_near_to_nothing_gets_no_suggestion() -> None:
    assert complaint(environ={"SHOAL_XYZZY": "1"}) == "the variable SHOAL_XYZZY sets nothing that exists"


def test_variables_of_others_are_nobodys_business() -> None:
    assert load({}, environ={"PATH": "/bin", "SHOALS": "1", "ADDRESS": "x"}).settings == Settings()


def test_what_kubernetes_says_of_a_service_called_shoal_is_no_configuration() -> None:
    links = {
        "SHOAL_SERVICE_HOST": "10.0.0.1",
        "SHOAL_SERVICE_PORT": "8001",
        "SHOAL_SERVICE_PORT_GRPC": "8001",
        "SHOAL_PORT": "tcp://10.0.0.1:8001",
        "SHOAL_PORT_8001_TCP": "tcp://10.0.0.1:8001",
        "SHOAL_PORT_8001_TCP_PROTO": "tcp",
        "SHOAL_PORT_8001_TCP_PORT": "8001",
        "SHOAL_PORT_8001_TCP_ADDR": "10.0.0.1",
        "SHOAL_CANARY_SERVICE_HOST": "10.0.0.2",
        "SHOAL_CANARY_PORT": "tcp://10.0.0.2:8001",
    }
    assert load({}, environ=links).settings == Settings()


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("address", "8001", "HOST:PORT"),
        ("address", ":8001", "HOST:PORT"),
        ("address", "localhost:65536", "HOST:PORT"),
        ("address", "::1:8001", "HOST:PORT"),
        ("transport", "http", "auto or native or grpcio"),
        ("grace_s", "-1", "a number of seconds from 0 to 3600"),
        ("grace_s", "soon", "a number of seconds from 0 to 3600"),
        ("log_level", "INFO", "debug or info or warning or error"),
        ("limits.max_rows", "0", "a whole number of rows from 1 to 1099511627776"),
        ("limits.max_rows", "1.5", "a whole number of rows from 1 to 1099511627776"),
        ("limits.max_message_bytes", "2147483648", "a whole number of bytes from 1024 to 2147483647"),
        ("batching.default_timeout_s", "0", "a number of seconds above 0 to 86400"),
        ("runtime.slots", "-1", "a whole number of batches from 0 to 1024"),
    ],
)
def test_a_wrong_value_names_where_it_stands_the_key_what_is_wanted_and_what_came(
    key: str, text: str, wanted: str
) -> None:
    for origin, message in (
        (OPTIONS[key].variable, complaint(environ={OPTIONS[key].variable: text})),
        (OPTIONS[key].flag, complaint(flags={key: text})),
    ):
        assert message.startswith(f"{origin}: {key} must be {wanted}"), message
        assert text in message.rpartition("got ")[2]


@pytest.mark.parametrize(
    "line",
    [
        "grace_s = nan",
        "grace_s = inf",
        "grace_s = '1'",
        "grace_s = true",
        "address = 8001",
        "models = 1",
        "models = {a = 1}",
    ],
)
def test_the_file_takes_no_value_of_another_type(folder: Path, line: str) -> None:
    (folder / "shoal.toml").write_text(line)
    assert complaint().startswith(f"shoal.toml: {line.partition(' ')[0]} must be ")


def test_every_wrong_value_is_told_at_once() -> None:
    text = complaint(environ={"SHOAL_GRACE_S": "x"}, flags={"address": "y"})
    assert "SHOAL_GRACE_S: grace_s must be" in text
    assert "--address: address must be" in text
    assert "\n" not in text


def test_a_named_file_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml does not exist"):
        load({}, file=folder / "mine.toml", environ={})
    assert "gone.toml does not exist" in complaint(environ={"SHOAL_CONFIG": "gone.toml"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff", "is not UTF-8 text"), (b"a = ", "is not valid TOML: "), (b"a = 1\na = 2", "not valid TOML")],
)
def test_a_file_that_cannot_be_understood_is_an_error(folder: Path, content: bytes, reason: str) -> None:
    (folder / "shoal.toml").write_bytes(content)
    assert reason in complaint()


def test_a_file_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "shoal.toml").mkdir()
    assert complaint() == "the configuration file shoal.toml cannot be read: Is a directory"


def test_settings_cannot_be_changed_and_know_no_other_keys() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.grace_s = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings.model_validate({"colour": "red"})


def test_settings_made_in_code_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_GRACE_S", "1")
    assert Settings().grace_s == 30.0
    assert load({}).settings.grace_s == 1.0


def test_defaults_are_those_of_the_core() -> None:
    settings = Settings()
    assert settings.limits.options() == AdmissionOptions()
    assert settings.batching.options() == BatchingOptions()
    assert settings.runtime.options() == RuntimeOptions()


def test_milliseconds_become_the_seconds_of_the_core() -> None:
    options = load({"batching.delay_ms": "2.5", "batching.max_rows": "8"}, environ={}).settings.batching.options()
    assert (options.delay_s, options.max_rows) == (0.0025, 8)


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.key)
def test_every_option_says_what_it_is_for_and_what_it_takes(option: object) -> None:
    assert isinstance(option, type(OPTIONS["address"]))
    assert option.why.endswith(".")
    assert option.wanted
    if isinstance(option.default, int | float) and not isinstance(option.default, bool):
        assert " of " in option.wanted, "a number has a unit"
    assert option.flag == "PATH" or option.flag.startswith("--")
    assert {field.name for field in fields(option)} == {"key", "default", "wanted", "why"}


def outcome(file: Path | None, environ: dict[str, str]) -> Configuration | str:
    try:
        return load({}, file=file, environ=environ)
    except ConfigError as error:
        return str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    environ=st.dictionaries(st.sampled_from([option.variable for option in OPTIONS.values()]), st.text()),
    name=st.text(max_size=20),
)
def test_whatever_variables_hold_is_taken_or_complained_about(environ: dict[str, str], name: str) -> None:
    got = outcome(None, environ)
    assert isinstance(got, Configuration) or any(name in got for name in environ)
    assert f"the variable SHOAL_{name} " in str(outcome(None, {f"SHOAL_{name}": "x"})) or name.isupper()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.characters(codec="utf-8")))
def test_whatever_the_file_holds_is_taken_or_complained_about(folder: Path, content: str) -> None:
    (folder / "fuzz.toml").write_text(content, encoding="utf-8")
    got = outcome(folder / "fuzz.toml", {})
    assert isinstance(got, Configuration) or "fuzz.toml" in got


def test_a_switch_is_true_or_false_in_words_and_nothing_else() -> None:
    assert load({}, environ={"SHOAL_INSECURE": "true"}).settings.insecure
    assert not load({"insecure": "no"}, environ={"SHOAL_INSECURE": "true"}).settings.insecure
    with pytest.raises(ConfigError, match="SHOAL_INSECURE: insecure must be true or false, got 'maybe'"):
        load({}, environ={"SHOAL_INSECURE": "maybe"})


def test_names_are_a_list_in_the_file_and_have_commas_between_them_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text('[admin]\nidentities = ["dns:a.example", "dns:b.example"]')
    assert load({}, file=file, environ={}).settings.admin.identities == ("dns:a.example", "dns:b.example")
    said = {"admin.identities": "dns:a.example, spiffe://example/ops"}
    assert load(said, environ={}).settings.admin.identities == ("dns:a.example", "spiffe://example/ops")


def test_every_path_in_a_file_starts_from_where_the_file_is_and_empty_means_none(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text('[tls]\ncertificate = "server.pem"\nkey = ""')
    tls = load({}, file=file, environ={}).settings.tls
    assert (tls.certificate, tls.key, tls.client_ca) == (tmp_path / "server.pem", None, None)


def test_callers_are_told_apart_as_the_file_says(folder: Path) -> None:
    (folder / "shoal.toml").write_text(
        '[callers]\nby = "identity"\nweights = ["subject:CN=cart,O=shop=2.5", "dns:a=0.5"]\n'
        'quotas = ["subject:CN=a b concurrency=4 rows_per_s=10", "* requests_per_s=0.5 burst_s=3"]\n'
    )
    options = load({}, environ={}).settings.callers.options()
    assert options == CallerOptions(
        CallerKey.IDENTITY,
        "x-caller-id",
        FairnessOptions({"subject:CN=cart,O=shop": 2.5, "dns:a": 0.5}),
        {"subject:CN=a b": QuotaOptions(concurrency=4, rows_per_s=10.0)},
        QuotaOptions(requests_per_s=0.5, burst_s=3.0),
    )


def test_callers_are_one_by_default() -> None:
    assert Settings().callers.options() is None


@pytest.mark.parametrize("line", ["dns:a", "=1", "dns:a=0", "dns:a=-1", "dns:a=inf", "dns:a=nan", "dns:a=x"])
def test_a_weight_that_is_none_is_refused(line: str) -> None:
    assert "callers.weights must be a list of NAME=WEIGHT, above 0" in complaint({"callers.weights": line})


@pytest.mark.parametrize(
    "line",
    [
        "dns:a",
        "concurrency=4",
        "dns:a concurrency=-1",
        "dns:a concurrency=1.5",
        "dns:a speed=1",
        "dns:a burst_s=0",
        "dns:a rows_per_s=inf",
        "dns:a concurrency=1 concurrency=2",
    ],
)
def test_a_quota_that_is_none_is_refused(line: str) -> None:
    assert "callers.quotas must be a list of NAME LIMIT=NUMBER" in complaint({"callers.quotas": line})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("* concurrancy=3", ": there is no limit 'concurrancy'; did you mean concurrency?"),
        ("* speed=3", ": there is no limit 'speed'"),
        ("* concurrency=1 concurrency=2", ": 'concurrency' stands twice"),
        ("* rows_per_s=inf", ": a limit is from 0 on, and burst_s above it, got 'rows_per_s=inf'"),
    ],
)
def test_what_is_wrong_with_a_quota_is_told(line: str, why: str) -> None:
    assert complaint({"callers.quotas": line}).endswith(why)
