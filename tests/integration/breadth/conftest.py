"""What the tests of breadth share: the cases of the ONNX project, and figures told whether they pass or not."""

import logging
from collections.abc import Callable, Iterator

import pytest

from shoal_testing.onnx_cases import OnnxCase, operator_cases, stored_cases

Tell = Callable[[str], None]


@pytest.fixture(scope="session")
def onnx_cases() -> tuple[OnnxCase, ...]:
    """All cases."""
    return (*operator_cases(), *stored_cases())


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
