"""Plain requests, read without protobuf: tensors in raw form and no parameters, which is what most callers send.

The reading is the native crate's (`server/native/src/oip.rs`). Whatever it does not know for plain, be it rare or
wrong, goes the way of `rpc/decode.py`, which also does all of it where the crate is not installed.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, TypeAlias

from shoal_server.tensors.spec import InputForm
from shoal_server.tensors.value import Raw
from shoal_server.transport.port import Call

Form: TypeAlias = tuple[str, str, tuple[InputForm, ...], tuple[str, ...]]
"""Model, version, inputs and the names of the outputs wanted; requests that have it in common share one object."""
Plain: TypeAlias = tuple[Form, bytes, Sequence[Raw], int]
"""A request: its form, its id as a field of the answer, the elements of its inputs, and its size in bytes."""


class PlainBurst(Protocol):
    """Requests with one form and inputs of the same sizes, in the order in which they came."""

    @property
    def form(self) -> Form:
        """What they have in common."""
        ...

    @property
    def sizes(self) -> list[int]:
        """The bytes of each input."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of all messages."""
        ...

    @property
    def earliest_s(self) -> float:
        """The first deadline, in monotonic seconds; infinity where nobody has one."""
        ...

    @property
    def traced(self) -> Sequence[tuple[int, Call, bytes]]:
        """Those that are traced: each one's place, its call, and its id as ``Plain`` has it."""
        ...

    def has_left(self, place: int, /) -> bool:
        """Whether the caller of the request at this place left before it was answered."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def elements(self, number: int, start: int, stop: int, /) -> bytes:
        """Return the elements of one input of the requests from ``start`` to ``stop``, one after the other."""
        ...

    def answer(self, start: int, stop: int, head: bytes, parts: list[tuple[bytes, bytes, int]]) -> int:
        """Answer those requests, and return how many still waited.

        An answer is the head, the request's id, and of each part its first item and so many bytes of its second.
        """
        ...

    def requests(self, start: int) -> Sequence[tuple[Call, bytes, Sequence[Raw], int]]:
        """Return the requests from ``start`` on: each one's call, and what ``Plain`` has but the form."""
        ...


class PlainReader(Protocol):
    """Reads what is plain, and leaves the rest."""

    def gather(self, calls: Sequence[Call]) -> tuple[Sequence[PlainBurst], Sequence[Call]]:
        """Put together what is alike among calls of the native transport; return the others, too.

        A traced call is known by the one that it carries, its ``untraced``.
        """
        ...

    def read(self, call: Call) -> Plain | None:
        """Read the request of a call, whatever carries it."""
        ...


class _Nothing:
    """Knows nothing for plain."""

    def gather(self, calls: Sequence[Call]) -> tuple[Sequence[PlainBurst], Sequence[Call]]:
        return (), calls

    def read(self, _call: Call) -> Plain | None:
        return None


def plain_reader() -> PlainReader:
    """Return what reads plain requests: the crate's, where that is installed."""
    try:
        native = import_module("shoal_native")
    except ImportError:
        return _Nothing()
    reader: PlainReader = native.RequestReader()
    return reader
