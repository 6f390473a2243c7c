"""The programs that measure one promise each: here, briefly, that they measure; what they find is in results/."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_bench import coalescing, fairness, overload, retry_storm
from shoal_server.transport.choice import why_not_native

_WARM_UP_S = 0.2  # figures need not be those of a server that has settled

pytestmark = pytest.mark.timeout(60)
native = pytest.mark.skipif(bool(why_not_native()), reason="the native load generator is not built here")


def recorded(
    main: Callable[[], int], flags: list[str], record: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["program", *flags, "--record", str(record)])
    assert main() == 0
    found = json.loads(record.read_text())
    assert found["machine"]["versions"]["shoal"]
    assert isinstance(found, dict)
    return found


def test_rows_that_travel_together_cost_less_than_each_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--callers", "64", "--rows", "1000", "--rounds", "1"]
    found = recorded(coalescing.main, flags, tmp_path / "a.json", monkeypatch)
    assert found["series"]["client's CPU per row"][0] < 0.9  # type: ignore[index]
    assert "rows/s with coalescing over without: median" in capsys.readouterr().out


@native
def test_an_overload_is_measured_from_its_capacity_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(overload, "_WARM_UP_S", _WARM_UP_S)
    found = recorded(overload.main, ["--rounds", "1", "--seconds", "0.5"], tmp_path / "a.json", monkeypatch)
    course = found["rounds"][0]["shoal"]  # type: ignore[index]
    assert course["capacity_per_s"] > 0
    assert course["refused"] + course["expired"] > 0, "three times is too much"
    assert 0 <= course["wasted"] <= 1
    out = capsys.readouterr().out
    assert "goodput over peak: median" in out
    assert "p99 of refusals, ms:" in out


@native
def test_callers_with_certificates_of_their_own_are_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fairness, "_WARM_UP_S", _WARM_UP_S)
    found = recorded(fairness.main, ["--rounds", "1", "--seconds", "0.25"], tmp_path / "a.json", monkeypatch)
    figures = found["figures"]
    assert set(figures["quiet"]) == {"alone", "its share", "a flood"}  # type: ignore[index]
    assert set(figures["priorities"]["by_model"]) <= {f"priority {level}" for level in (1, 2, 3)}  # type: ignore[index]
    out = capsys.readouterr().out
    assert "the quiet caller's p99 beside a flood, over that beside its share" in out
    assert "the last priority's longest wait" in out or "nothing was answered of the last priority" in out


def test_clients_that_try_again_are_measured_before_an_overload_in_it_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recorded(retry_storm.main, ["--rounds", "1", "--seconds", "0.25"], tmp_path / "a.json", monkeypatch)
    for name in ("grpcio", "shoal"):
        storm = found["rounds"][0][name]  # type: ignore[index]
        for phase in ("before", "storm", "settling", "after"):
            assert storm[phase]["attempts_per_s"] > 0, "the server counts what reaches it"
            assert sum(storm[phase]["statuses"].values()) > 0
        assert storm["storm"]["offered_per_s"] > storm["before"]["offered_per_s"]
        assert storm["after"]["statuses"]["OK"] > 0
    assert "attempts per call" in capsys.readouterr().out
