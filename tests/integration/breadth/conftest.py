"""What the tests of breadth share: the cases of the ONNX project, and figures told whether they pass or not."""

import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal_testing.built_once import built_once
from shoal_testing.onnx_cases import OnnxCase, operator_cases, stored_cases
from shoal_testing.patience import wait_up_to

Tell = Callable[[str], None]


@pytest.fixture(scope="session")
def onnx_cases(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[OnnxCase, ...]:
    """All cases; to collect them takes some 15 s, as the ONNX project computes what it expects of them."""
    wait_up_to(120)

    def collect(folder: Path) -> None:
        with (folder / "cases").open("wb") as file:
            pickle.dump((*operator_cases(), *stored_cases()), file)

    with (built_once(tmp_path_factory, worker_id, "onnx_cases", collect) / "cases").open("rb") as file:
        cases: tuple[OnnxCase, ...] = pickle.load(file)  # noqa: S301 - this run wrote it
    return cases


@pytest.fixture
def tell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Tell:
    """Keep figures with the test's report: `pytest -rP` shows them, and so does a JUnit file."""

    def keep(text: str) -> None:
        record_property("breadth", text)
        request.node.add_report_section("call", "breadth", text)

    return keep


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the hundreds of models that ONNX Runtime has no operator for out of the log of a test that fails."""
    log = logging.getLogger("shoal")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)
