"""Answers that were given before, kept for a while: bounded in bytes and in time. Pure."""

from collections import OrderedDict
from typing import Final, NamedTuple

from shoal_server.batching.ticket import Outputs
from shoal_server.tensors.batch import WHOLE

ENTRY_BYTES: Final = 1024
"""What an answer takes besides its elements: its key, its place, and an object for each output and its shape."""


class KeptAnswer(NamedTuple):
    """What one request was answered with; its blocks keep nothing else in memory. ``rows`` may be ``WHOLE``."""

    outputs: Outputs
    rows: int

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, roughly and not less."""
        elements = sum([len(block.raw(0, WHOLE)) for block in self.outputs.blocks])
        return elements + ENTRY_BYTES + 256 * len(self.outputs.blocks)


class AnswerCache:
    """Answers by key. Who was used longest ago goes first where there is no more room. Times are monotonic seconds."""

    def __init__(self, most_bytes: int, ttl_s: float) -> None:
        self._most_bytes = most_bytes
        self._ttl_s = ttl_s
        self._kept: OrderedDict[bytes, tuple[KeptAnswer, int, float]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now: float) -> KeptAnswer | None:
        """Return the answer, None where there is none that is young enough."""
        found = self._kept.get(key)
        if found is None:
            return None
        answer, _, expires_s = found
        if expires_s <= now:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: KeptAnswer, now: float) -> None:
        """Keep an answer in the place of any that has its key; one that is too large is not kept."""
        size_bytes = answer.size_bytes
        if key in self._kept:
            self._drop(key)
        if size_bytes > self._most_bytes:
            return
        while self.size_bytes + size_bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))
        self._kept[key] = answer, size_bytes, now + self._ttl_s
        self.size_bytes += size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.size_bytes = 0

    def _drop(self, key: bytes) -> None:
        self.size_bytes -= self._kept.pop(key)[1]

    def __repr__(self) -> str:
        return f"<AnswerCache {len(self)} answers, {self.size_bytes} of {self._most_bytes} bytes>"
