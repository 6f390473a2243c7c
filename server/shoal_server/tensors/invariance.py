"""Whether a row's answer is the same, bit for bit, alone and among any neighbours."""

from typing import Final, NamedTuple


class InvarianceFinding(NamedTuple):
    """What a model was found to be: ``invariant`` None where that was not found out; ``reason`` is for its operator."""

    invariant: bool | None
    reason: str


NOT_FOUND_OUT: Final = InvarianceFinding(invariant=None, reason="nothing that it runs on could be made up")
