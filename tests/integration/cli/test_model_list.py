"""The list of models, as an admin service and a server without one tell it."""

import json
from collections.abc import Callable

import grpc
import pytest

from shoal_server.cli.root import run
from shoal_testing.fake_admin import FakeAdmin, fake_admin

Ask = Callable[..., tuple[int, str, str]]


def test_the_list_shows_what_answers_labels_digests_and_what_is_kept(ask: Ask, fake: FakeAdmin) -> None:
    fake.model.operation = "swap to version 3"
    code, out, _ = ask("models")
    assert code == 0
    headings, *rows, remark = out.splitlines()
    assert headings.startswith("MODEL   VERSION  STATE  CURRENT  LABELS          DIGEST        KEPT WARM UNTIL")
    assert rows[0].startswith("digits  1        READY  -        previous        111111111111  2001-09-0")
    assert rows[1].startswith("digits  2        READY  yes      canary, stable  222222222222  -")
    assert remark == "digits: swap to version 3 is under way"


def test_the_admin_service_is_asked_where_it_is_configured_to_listen(
    fake: FakeAdmin, served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_admin() as (address, other):
        monkeypatch.setenv("SHOAL_ADDRESS", served[0])
        monkeypatch.setenv("SHOAL_ADMIN__ADDRESS", address)
        assert run(["models"]) == 0
        assert run(["models", "swap", "digits", "2"]) == 0
    assert set(fake.requests) == {"RepositoryIndex", "ModelStatistics"}
    assert set(other.requests) == {"ListModels", "SwapVersion"}


def test_the_list_does_not_need_an_admin_service_that_is_out_of_reach(
    served: tuple[str, FakeAdmin], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", served[0])
    monkeypatch.setenv("SHOAL_ADMIN__ADDRESS", "127.0.0.1:1")
    assert run(["models"]) == 0
    assert capsys.readouterr().out.startswith("MODEL   VERSION  STATE  BATCHED")


def test_the_list_as_json_says_null_of_what_it_was_not_told(ask: Ask, fake: FakeAdmin) -> None:
    [first, second] = json.loads(ask("models", "--json")[1])
    assert (first["current"], first["labels"], first["digest"]) == (False, ["previous"], "1" * 64)
    assert (second["current"], second["kept_warm_until"]) == (True, 0.0)
    fake.offered = False
    code, out, _ = ask("models", "--json")
    assert code == 0
    assert [(entry["current"], entry["labels"], entry["digest"]) for entry in json.loads(out)] == [(None,) * 3] * 2


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_the_list_needs_no_right_to_operate(ask: Ask, fake: FakeAdmin, status: grpc.StatusCode) -> None:
    fake.denied["ListModels"] = status
    code, out, _ = ask("models")
    assert code == 0
    assert out.startswith("MODEL   VERSION  STATE  BATCHED")
