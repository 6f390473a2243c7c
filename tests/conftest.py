"""Defaults of every test: randomness that can be repeated, and an event loop that nobody may block."""

import gc
import random
import zlib
from collections.abc import Generator, Iterator

import grpc.aio
import hypothesis
import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from shoal_testing import server

# How long an example takes is no property of the code on a busy machine; the time limit per test catches what hangs.
hypothesis.settings.register_profile("shoal", deadline=None, print_blob=True)
hypothesis.settings.load_profile("shoal")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--transport", default="auto", help="what carries the calls of servers: native or grpcio")
    parser.addoption("--seed", type=int, help="repeat a run: the seed that it printed")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the run before xdist copies the options to its workers and before Hypothesis reads its own."""
    server.transport = config.option.transport
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().getrandbits(32)
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(config.option.seed)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.option.seed} (repeat with --seed {config.option.seed})"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector look neither now nor later through what stays to the end: modules and tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("Randomness", f"repeat with --seed {item.config.option.seed}"))
    return report


@pytest.fixture(scope="session", autouse=True)
def _aio_clients_end_without_waiting() -> None:
    """The last object of grpc.aio that goes joins a thread, on the loop; so one of ours stays to the end."""
    grpc.aio.init_grpc_aio()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of this test's own, from the run's seed and the test's name: the same alone and among others."""
    name: str = request.node.nodeid
    run_seed: int = request.config.option.seed
    return zlib.crc32(name.encode(), run_seed)


@pytest.fixture(autouse=True)
def _seeded_random(seed: int) -> None:
    random.seed(seed)


@pytest.fixture(scope="session", autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call that the server makes on a running event loop raises BlockingError.

    Not while it is made: it reads a few small files then, on the loop, before it listens. To wrap all calls and unwrap
    them costs more than most tests, so that is done once.
    """
    with blockbuster_ctx("shoal_server") as guard:
        for function in guard.functions.values():
            function.can_block_in("shoal_server/app.py", "__init__")
        yield guard
