import json
import logging

import pytest

from shoal_server.events import AdminDecided, BatchEnded, OperationEnded, VersionChanged
from shoal_server.telemetry.event_log import EventLog
from shoal_server.telemetry.json_log import JsonFormatter


def line(record: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_is_an_object_with_time_level_logger_and_message() -> None:
    record = logging.LogRecord("shoal", logging.WARNING, "f.py", 1, 'say "%s"\n', ("ü",), None)
    record.created = 1_700_000_000.25
    assert line(record) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "shoal",
        "message": 'say "ü"\n',
    }


def test_what_else_is_known_stands_in_fields_of_its_own() -> None:
    record = logging.LogRecord("shoal", logging.ERROR, "f.py", 1, "failed", (), None)
    record.trace_id, record.span_id, record.secret = "4bf9", "00f0", "never"
    found = line(record)
    assert (found["trace_id"], found["span_id"]) == ("4bf9", "00f0")
    assert "secret" not in found
    assert "exception" not in found


def test_an_exception_stays_within_its_line() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        int("wrong")
    raised = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("shoal", logging.ERROR, "f.py", 1, "failed", (), raised)
    assert "ValueError: invalid literal" in str(line(record)["exception"])


def test_events_of_a_model_name_it_and_its_version(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = EventLog()
    log.observe(VersionChanged("m", 3, "ready", ""))
    log.observe(OperationEnded("swap", "m", 3, "failed", "it is broken", 1.0, 2.0, ()))
    log.observe(BatchEnded("m", 3, 1, 1, "full", 1.0, 2.0, broken=False, members=(), arrived_s=(), runs=()))
    found = [line(record) for record in caplog.records]
    assert [(one["model"], one["version"]) for one in found] == [("m", 3), ("m", 3)]
    assert found[1]["message"] == "swap of model m, version 3 failed after 2 s: it is broken"


def test_an_operator_without_a_certificate_is_told_from_one_with_any_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for identity in ("", "subject:CN=nobody"):
        EventLog().observe(AdminDecided("/s/M", identity, "ipv4:127.0.0.1:9", allowed=True, reason=""))
    assert [record.getMessage() for record in caplog.records] == [
        "admin call /s/M allowed for a caller without a certificate from ipv4:127.0.0.1:9",
        "admin call /s/M allowed for 'subject:CN=nobody' from ipv4:127.0.0.1:9",
    ]
