"""h2spec, which nobody here wrote, on the native transport: what it finds is what is known, and why that is right."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from shoal_server.transport.choice import why_not_native
from shoal_testing import models
from shoal_testing.server import running_server

INSTALLED: Final = Path(__file__).parents[2] / ".venv" / "interop" / "bin"
H2SPEC: Final = shutil.which("h2spec", path=INSTALLED)
WAIT_S: Final = 2
CASES: Final = 145

Case = tuple[str, str]
"""Where its section is, and what it does."""

# Of all that h2spec sends, nothing says that it is gRPC. So each request is answered at its headers by 415.
FAIL: Final[Mapping[Case, str]] = {
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"): "it waits for DATA; a 415 has no body",
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"): "it waits for DATA; a 415 has no body",
    ("http2/3.5", "Sends invalid connection preface"): (
        "the connection is closed before all of its 30 bytes are read, and the kernel resets one with unread bytes"
    ),
    ("http2/4.2", "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE"): (
        "it sends 17,608 bytes whatever the limit is, which is 262,144 here"
    ),
    ("http2/5.1.2", "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded"): (
        "it opens one stream more than the 16,384 there may be, but each is answered and over before the last comes"
    ),
}

LYING_LENGTH: Final = 'Sends a HEADERS frame with the "content-length" header field which does not equal'

# With the 415, since more was to come, goes RST_STREAM (NO_ERROR); of what comes after one has been sent, nothing is
# judged (RFC 9113, 5.1 and 8.1). Where both frames are read at once, the second is judged before there is an answer.
FAIL_WHEN_THE_ANSWER_IS_FIRST: Final[frozenset[Case]] = frozenset(
    {
        ("http2/5.1", "closed: Sends a DATA frame after sending RST_STREAM frame"),
        ("http2/5.1", "closed: Sends a HEADERS frame after sending RST_STREAM frame"),
        (
            "http2/6.9.1",
            "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
        ),
        ("http2/8.1", "Sends a second HEADERS frame without the END_STREAM flag"),
        ("http2/8.1.2.1", "Sends a HEADERS frame that contains a pseudo-header field as trailers"),
        ("http2/8.1.2.6", f"{LYING_LENGTH} the DATA frame payload length"),
        ("http2/8.1.2.6", f"{LYING_LENGTH} the sum of the multiple DATA frames payload length"),
    }
)

pytestmark = [
    pytest.mark.skipif(H2SPEC is None, reason="h2spec is not installed; `make interop` does it where there is go"),
    pytest.mark.skipif(bool(why_not_native()), reason=str(why_not_native())),
]


@pytest.fixture(scope="module")
def kind() -> str:
    return "native"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    models.save(tmp_path, "pair", models.identity())
    with running_server(tmp_path) as running:
        yield running.address.rpartition(":")[2]


@pytest.mark.timeout(90)
def test_all_cases_pass_but_those_that_are_no_grpc_and_known(port: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert H2SPEC is not None
    path = "/inference.GRPCInferenceService/ServerLive"
    ran = subprocess.run(  # noqa: S603 - what `make interop` has installed
        [H2SPEC, "-h", "127.0.0.1", "-p", port, "-P", path, "-o", str(WAIT_S), "-j", str(report)],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - of a file that h2spec has just written
    assert len(cases) == CASES
    failed = {
        (case.attrib["package"], case.attrib["classname"])
        for case in cases
        if case.find("error") is not None or case.find("failure") is not None
    }
    assert failed - FAIL_WHEN_THE_ANSWER_IS_FIRST == set(FAIL), ran.stdout[ran.stdout.find("Failures:") :]
