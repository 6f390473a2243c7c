"""From a model's file to a session."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnxruntime as ort
from google.protobuf.message import DecodeError

from shoal_server.errors import LoadFailed
from shoal_server.runtime.element_types import element_types
from shoal_server.runtime.failures import load_reason
from shoal_server.runtime.fragile_operators import operators
from shoal_server.runtime.model_files import unread
from shoal_server.runtime.model_tensors import ModelTensor, NodeArg, read_input, read_output
from shoal_server.runtime.onnx_file import without_zipmaps
from shoal_server.runtime.ort_session import OrtSession

_PROVIDERS: Final = ["CPUExecutionProvider"]
_FATAL: Final = 4  # what ONNX Runtime would write to the console comes as an exception anyway


def open_session(path: Path, threads: int) -> OrtSession:
    """Load a model with so many threads (>= 1) for each operator; ZipMap's outputs come as tensors.

    Raises:
        LoadFailed: ONNX Runtime does not take it, or it has inputs or outputs that the protocol cannot carry.
    """
    session = _create(path, threads)
    found = operators(path)
    inputs = [*map(read_input, session.get_inputs()), *_overridable(session)]
    given = session.get_outputs()
    if not any(output.type.startswith("seq(map(") for output in given):
        return OrtSession(session, inputs, [read_output(output, output.name) for output in given], found)
    names = [output.name for output in given]
    del session, given  # what describes a session keeps it in memory
    try:
        unzipped = without_zipmaps(path)
    except OSError as error:
        raise LoadFailed(f"it cannot be read: {unread(error)}") from error
    except (DecodeError, ValueError) as error:
        raise LoadFailed(f"its ZipMap nodes cannot be taken out: {error}") from error
    with _as_file(unzipped.parts) as rewritten:
        session = _create(rewritten, threads, external_data=path.parent)
    made = {output.name: output for output in session.get_outputs()}
    outputs = [
        read_output(made[unzipped.sources.get(name, name)], name, unzipped.labels.get(name, ())) for name in names
    ]
    return OrtSession(session, inputs, outputs, found)


def _create(path: Path, threads: int, external_data: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # Threads that spin while they wait would take the processor from other models' runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if external_data is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(external_data))
    try:
        # From a path, as loading from bytes keeps the interpreter's lock while they are copied. Without fallback,
        # which would print to the console and load a second time.
        return ort.InferenceSession(
            str(path), options, providers=_PROVIDERS, enable_fallback=0, read_config_from_model=0
        )
    except Exception as error:
        raise LoadFailed(load_reason(error, external_data or path.parent)) from error


def _overridable(session: ort.InferenceSession) -> Iterator[ModelTensor]:
    """Yield the initializers that a caller may replace; one of a type that nobody can send stays what it is."""
    args: list[NodeArg] = session.get_overridable_initializers()
    for arg in args:
        if arg.type.removeprefix("tensor(").removesuffix(")") in element_types:
            yield read_input(arg, optional=True)


@contextmanager
def _as_file(parts: Sequence[bytes | memoryview]) -> Iterator[Path]:
    """Give bytes a path for as long as the context lasts: in memory where the system can, else in a temporary file."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("model.onnx")
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no Path
            file.writelines(parts)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            with path.open("wb") as file:
                file.writelines(parts)
            yield path
