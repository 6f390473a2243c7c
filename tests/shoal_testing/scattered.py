"""Elements of a tensor in several places, without a wire."""

from typing import Any

from shoal_server.tensors.value import Raw


class FakeScattered:
    """Implements ``tensors.value.Scattered``; counts the copies that are made of it and of its parts."""

    def __init__(self, raw: bytes, copies: list[int] | None = None) -> None:
        self._raw = raw
        self.copies = [] if copies is None else copies

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, part: slice, /) -> "FakeScattered":
        if part.step not in {None, 1}:
            raise ValueError("elements are cut and not picked")
        return FakeScattered(self._raw[part], self.copies)

    def copy_to(self, whole: Any, /) -> None:  # noqa: ANN401 - as the port has it
        view = memoryview(whole)
        if view.readonly:
            raise BufferError("it cannot be written")
        if view.nbytes != len(self._raw):
            raise ValueError("there are more elements or fewer")
        self.copies.append(len(self._raw))
        view[:] = self._raw

    def tobytes(self) -> bytes:
        self.copies.append(len(self._raw))
        return self._raw


def in_place(raw: Raw) -> bytes:
    """Return raw elements as bytes, wherever they lie."""
    return raw if isinstance(raw, bytes) else raw.tobytes()
