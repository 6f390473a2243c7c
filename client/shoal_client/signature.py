"""What a model takes and gives, as its metadata says, and a bounded memory of it."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MOST_SIGNATURES: Final = 256


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output: its name, its type on the wire ("FP32", "BYTES", ...) and its shape; -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model as its server describes it. ``versions`` are those that are ready; some servers name none."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec | None:
        """Return the input of that name, if there is one."""
        return next((spec for spec in self.inputs if spec.name == name), None)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a client has to know of a model: its metadata, and how many rows of different callers may travel together.

    ``most_rows`` is 0 where they may not, or where nobody asked.
    """

    metadata: ModelMetadata
    most_rows: int = 0


def rows_are_free(metadata: ModelMetadata) -> bool:
    """Whether the first dimension of every input and output may have any size, as that of a batch has."""
    tensors = (*metadata.inputs, *metadata.outputs)
    return bool(metadata.inputs and metadata.outputs) and all(spec.shape[:1] == (-1,) for spec in tensors)


Key = tuple[str, str]
"""A model and the version asked for, "" for the newest."""


@dataclass(slots=True)
class _Known:
    signature: Signature | None
    answered_by: str = ""


class Signatures:
    """Signatures by model and version: pure, and bounded; who was asked for longest ago is forgotten first.

    An answer by another version than the last tells that the signature may have changed, if no version was asked for.
    """

    def __init__(self, most: int = MOST_SIGNATURES) -> None:
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._most = most

    def get(self, key: Key) -> Signature | None:
        """Return what is known."""
        known = self._known.get(key)
        if known is None:
            return None
        self._known.move_to_end(key)
        return known.signature

    def learn(self, key: Key, signature: Signature) -> None:
        """Remember what the server said just now."""
        known = self._known.get(key)
        # What made us ask again is no news any more, even if the server names that version nowhere.
        answered_by = known.answered_by if known is not None and known.signature is None else ""
        self._known[key] = _Known(signature, answered_by)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Take no more for true what is known."""
        self._known.pop(key, None)

    def answered(self, key: Key, version: str) -> None:
        """A request was answered by this version."""
        known = self._known.get(key)
        if known is None or known.signature is None or not version or known.answered_by == version:
            return
        versions = known.signature.metadata.versions
        if known.answered_by or (versions and version not in versions):
            known.signature = None
        known.answered_by = version

    def __len__(self) -> int:
        return len(self._known)
