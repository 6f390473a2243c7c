"""What operators do, as metrics and as traces."""

from pathlib import Path

import pytest

from shoal.admin import admin_pb2 as admin
from shoal_testing import models
from shoal_testing.caller import Caller
from shoal_testing.collected import NOWHERE, Collected
from shoal_testing.server import running_server
from shoal_testing.telling_models import plus

SWAP = "/shoal.admin.v1.AdminService/SwapVersion"


def test_a_swap_is_counted_and_traced_with_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    models.save(folder, "m", plus(1), 1)
    collected = Collected()
    collected.install(monkeypatch)
    telemetry = {"otlp_endpoint": NOWHERE}
    with running_server(folder, telemetry=telemetry) as running, Caller(running.address) as caller:
        models.save(folder, "m", plus(2), 2)
        _answers, outcome = caller.exchange([admin.SwapVersionRequest(model="m", version=2).SerializeToString()], SWAP)
        assert outcome.status == "OK", outcome
    operations = collected.counts("shoal.operation.duration", "shoal.operation.kind", "shoal.operation.outcome")
    assert operations == {("swap", "changed"): 1}
    by_step = collected.counts("shoal.operation.step.duration", "shoal.operation.kind", "shoal.operation.step")
    steps = {step for _kind, step in by_step}
    (swap,) = collected.named("swap m")
    assert swap.attributes is not None
    assert swap.attributes["shoal.model.version"] == "2"
    within = [span for span in collected.spans if span.parent is not None]
    assert {span.name for span in within} == steps
    assert len(steps) >= 3
    for span in within:
        assert span.parent is not None
        assert swap.context is not None
        assert span.parent.span_id == swap.context.span_id
        assert (swap.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (swap.end_time or 0) + 1000
