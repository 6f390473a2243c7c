"""Plain requests, read without protobuf: tensors in raw form and no parameters, which is what most callers send.

The reading is the native crate's (`server/native/src/oip.rs`). Whatever it does not know for plain, be it rare or
wrong, goes the way of `rpc/decode.py`, which also does all of it where the crate is not installed.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TypeAlias

from shoal_server.tensors.spec import InputForm
from shoal_server.transport.port import Call

Form: TypeAlias = tuple[str, str, tuple[InputForm, ...], tuple[str, ...]]
"""Model, version, inputs and the names of the outputs wanted; requests that have it in common share one object."""
Plain: TypeAlias = tuple[Form, bytes, list[bytes], int]
"""A request: its form, its id as a field of the answer, the elements of its inputs, and its size in bytes."""
PlainReader: TypeAlias = Callable[[Call], Plain | None]


def plain_reader() -> PlainReader:
    """Return what reads plain requests and returns None for all others."""
    try:
        native = import_module("shoal_native")
    except ImportError:
        return lambda _call: None
    reader: PlainReader = native.RequestReader().read
    return reader
