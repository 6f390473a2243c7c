"""What operators ask for."""

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from shoal_server.errors import InvalidRequest
from shoal_server.lifecycle.catalog import PREVIOUS, STABLE

_MOST_KEY_CHARACTERS: Final = 128
_MOST_KEEP_WARM_S: Final = 10 * 86_400.0
_LABEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(ABC):
    """What every change takes.

    ``key``: the same key is the same operation. ``expected``: the version that must answer now, 0 for any.
    """

    model: str
    key: str = ""
    expected: int = 0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidRequest("a change names its model")
        if len(self.key) > _MOST_KEY_CHARACTERS:
            raise InvalidRequest(f"an idempotency key has at most {_MOST_KEY_CHARACTERS} characters")
        if self.expected < 0:
            raise InvalidRequest(f"an expected version is above 0, or 0 for any, got {self.expected}")

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is called."""

    @property
    def about(self) -> int:
        """The version that it names, 0 for none."""
        return 0

    def __str__(self) -> str:
        return f"{self.kind} {self._preposition} version {self.about}" if self.about else self.kind

    @property
    def _preposition(self) -> str:
        """What goes between what it is called and the version that it names."""
        return "to"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfVersion(Request, ABC):
    version: int

    def __post_init__(self) -> None:
        Request.__post_init__(self)  # a dataclass with slots is another class than the one that super() knows
        if self.version < 1:
            raise InvalidRequest(f"a version is above 0, got {self.version}")

    @property
    def about(self) -> int:
        """The version that it names."""
        return self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap(_OfVersion):
    """A version is to answer in the place of the one that does, which stays loaded for ``keep_warm_s``.

    Where that is None, for as long as configured.
    """

    keep_warm_s: float | None = None
    allow_signature_change: bool = False

    def __post_init__(self) -> None:
        _OfVersion.__post_init__(self)
        keep_warm_s = self.keep_warm_s
        if keep_warm_s is not None and not (math.isfinite(keep_warm_s) and 0 <= keep_warm_s <= _MOST_KEEP_WARM_S):
            raise InvalidRequest(f"a version is kept warm for 0 to {_MOST_KEEP_WARM_S:g} s, got {keep_warm_s:g}")

    @property
    def kind(self) -> str:
        """What it is called."""
        return "swap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(_OfVersion):
    """A version is to be loaded beside the one that answers."""

    @property
    def kind(self) -> str:
        """What it is called."""
        return "load"

    @property
    def _preposition(self) -> str:
        return "of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload(_OfVersion):
    """A version is to leave; with ``force`` even the one that answers."""

    force: bool = False

    @property
    def kind(self) -> str:
        """What it is called."""
        return "unload"

    @property
    def _preposition(self) -> str:
        return "of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Request):
    """The version is to answer again that the last swap replaced."""

    @property
    def kind(self) -> str:
        """What it is called."""
        return "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabel(Request):
    """A label is to stand for a version, or with 0 for none."""

    label: str
    version: int

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if self.label in {STABLE, PREVIOUS}:
            raise InvalidRequest(f"the label '{self.label}' follows the swaps and cannot be set")
        if not _LABEL.fullmatch(self.label):
            raise InvalidRequest(
                "a label has letters, digits, '-', '_' and '.', begins with a letter and has at most 63 characters, "
                f"got {self.label!r:.80}"
            )
        if self.version < 0:
            raise InvalidRequest(f"a label stands for a version above 0, or with 0 for none, got {self.version}")

    @property
    def kind(self) -> str:
        """What it is called."""
        return "label"

    @property
    def about(self) -> int:
        """The version that it names."""
        return self.version
