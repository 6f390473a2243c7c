"""The server that a benchmark starts for itself."""

import asyncio
from pathlib import Path

import pytest

from shoal_bench.process import SERVE, running
from shoal_bench.watched import ServerFailed, own_server
from shoal_testing.models import mlp, save

pytestmark = pytest.mark.timeout(60)  # it starts processes


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models to be served, from a folder whose settings are for another server and would end this one."""
    (tmp_path / "shoal.toml").write_text("colour = 'red'")
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "models", "small", mlp((4, 8, 2)))
    return tmp_path / "models"


def test_settings_that_lie_about_are_for_another_server(models: Path) -> None:
    async def served() -> str:
        async with running(*SERVE, str(models), "--address", "127.0.0.1:0") as server:
            return server.address

    assert asyncio.run(served())
    with own_server(models) as (process, _address):
        assert process.alive


def test_variables_hold_for_it_nevertheless(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_COLOUR", "red")
    with pytest.raises(ServerFailed, match="SHOAL_COLOUR sets nothing that exists"), own_server(models):
        raise AssertionError("it started")
