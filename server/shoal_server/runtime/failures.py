"""What ONNX Runtime says when it fails, in words for callers and operators."""

import os
import re
from pathlib import Path
from typing import Final

from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, InvalidProtobuf

from shoal_server.errors import ExecutionFailed

_LIMIT_CHARACTERS: Final = 500

_FRAME: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_LOADING: Final = re.compile(r"Load model from .*? failed: ?", re.DOTALL)
_NODE: Final = re.compile(r"Non-zero status code returned while running (\S*) node\. Name:'([^']*)' Status Message: ")
_SOURCE: Final = re.compile(r"(?P<folder>/\S*/)?[\w.-]+\.(?:cc|cpp|cxx|h|hpp|hh|inc):\d+ ")
_AFTER_SIGNATURE: Final = re.compile(
    r"(?: const)?(?:::<lambda\([^()]*\)>(?: const| mutable)?)*(?: \[with [^\]]*\])?\s*"
)
_ADVICE: Final = " Please fix either the inputs/outputs or the model."

# The arena and the C++ library, each in its words; a lack of memory is not the caller's fault.
_MEMORY: Final = ("Failed to allocate memory", "bad_alloc")
_STOPPED: Final = "terminate flag"


def load_reason(error: Exception, folder: Path) -> str:
    """Return, as one line, why ONNX Runtime did not take a model; files in its folder go by their names alone."""
    if isinstance(error, InvalidProtobuf):
        return "it is no ONNX model, or only a part of one (its protobuf message does not parse)"
    text = str(error).replace(f"{folder}{os.sep}", "").replace(f"{folder.resolve()}{os.sep}", "")
    return _clean(text) or "ONNX Runtime does not say why"


def execution_failure(error: Exception) -> ExecutionFailed:
    """Return what a failed run means for the one who asked for it.

    A node that refuses its input is put down to the input's values: the graph itself was checked when it was loaded.
    """
    text = str(error)
    if _STOPPED in text:
        return ExecutionFailed("the run was interrupted")
    if isinstance(error, UnicodeDecodeError):
        return ExecutionFailed("the model gave a string that is not valid UTF-8")
    refused = isinstance(error, InvalidArgument) or _NODE.search(text) is not None
    no_memory = any(words in text for words in _MEMORY)
    return ExecutionFailed(_clean(text) or "ONNX Runtime does not say why", caller_at_fault=refused and not no_memory)


def _clean(text: str) -> str:
    text = _LOADING.sub("", _FRAME.sub("", text)).replace("(anonymous namespace)", "anonymous")
    text = _NODE.sub(_named_node, text)
    while (found := _SOURCE.search(text)) is not None:
        text = text[: found.start()] + text[_signature_end(text, found.end(), whole=found["folder"] is not None) :]
    text = " ".join(text.split()).removesuffix(_ADVICE)
    return text if len(text) <= _LIMIT_CHARACTERS else text[: _LIMIT_CHARACTERS - 1] + "…"


def _named_node(found: re.Match[str]) -> str:
    operator, name = found.groups()
    return f"{operator} node '{name}': " if name else f"{operator} node: "


def _signature_end(text: str, start: int, *, whole: bool) -> int:
    """Return where the C++ function that follows a source line's number ends.

    It is one word after a bare file name. After a whole path (of the machine that built the runtime) it is what
    compilers put into ``__PRETTY_FUNCTION__``: return type, templates, and the parameters in parentheses.
    """
    if not whole:
        end = text.find(" ", start)
        return end + 1 if end >= 0 else len(text)
    angles = depth = 0
    for position in range(start, len(text)):
        character = text[position]
        if character in "<>":
            angles += 1 if character == "<" else -1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            names_call_operator = text[:position].endswith("operator(")
            if not depth and angles <= 0 and not names_call_operator:
                after = _AFTER_SIGNATURE.match(text, position + 1)
                return after.end() if after else position + 1
    return start
