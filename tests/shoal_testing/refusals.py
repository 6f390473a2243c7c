"""What a refusal must be like: the right status, and a text that helps its reader and betrays nothing."""

import re
from typing import Final

from shoal_testing.caller import Outcome

MOST_CHARACTERS: Final = 600

# Python, its exceptions and objects; ONNX Runtime, protobuf and gRPC by name; source files; absolute paths.
_INTERNALS: Final = re.compile(
    r"Traceback|\b[A-Z]\w*(?:Error|Exception)\b|<class|object at 0x|google|protobuf\.|onnxruntime[./]|"
    r"ONNXRuntime|cygrpc|"
    r"\.(?:py|cc|h):\d|\.py\b|(?:^|[\s'\"(=])/(?:tmp|home|root|usr|var|work|proc)/"
)


def assert_for_callers(text: str) -> None:
    """A text that a caller reads is short, one line, printable, and says nothing of what we are made of."""
    assert len(text) <= MOST_CHARACTERS, f"{len(text)} characters: {text[:200]}..."
    assert text.isprintable(), repr(text)
    found = _INTERNALS.search(text)
    assert found is None, f"{found} in {text!r}"


def assert_refused(outcome: Outcome, status: str, *words: str) -> None:
    """The call ended with this status, and its text has these words."""
    assert outcome.status == status, outcome
    assert outcome.text, "a refusal says why"
    assert_for_callers(outcome.text)
    for word in words:
        assert word in outcome.text, f"{word!r} is not in {outcome.text!r}"
