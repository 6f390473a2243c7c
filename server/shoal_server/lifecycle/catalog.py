"""Which versions there are: an immutable snapshot, replaced whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic

from shoal_server.errors import NotFound, Unavailable
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState

_MOST_DIGITS: Final = 18  # below 2 ** 63


@dataclass(frozen=True, slots=True)
class ModelEntry(Generic[G]):
    """One model: its versions, ascending, and why it has none where its description failed.

    ``refused`` are versions that are present and were not even tried, with the reasons.
    """

    versions: Mapping[int, VersionSlot[G]] = field(default_factory=dict)
    problem: str = ""
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def newest_ready(self) -> VersionSlot[G] | None:
        """The highest version that serves."""
        ready = [slot for slot in self.versions.values() if slot.state is VersionState.READY]
        return max(ready, key=lambda slot: slot.version, default=None)


@dataclass(frozen=True, slots=True)
class Catalog(Generic[G]):
    """All models. Readers keep no lock: whoever holds a catalog sees one consistent moment."""

    models: Mapping[str, ModelEntry[G]] = field(default_factory=dict)
    _newest: Mapping[str, VersionSlot[G]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        newest = {name: slot for name, entry in self.models.items() if (slot := entry.newest_ready) is not None}
        object.__setattr__(self, "_newest", MappingProxyType(newest))

    def resolve(self, model: str, version: str) -> VersionSlot[G]:
        """Return the named version, or for an empty ``version`` the newest that is ready.

        Raises:
            NotFound: no such model or version.
            Unavailable: the model is known, but no version of it is ready.
        """
        if not version:
            slot = self._newest.get(model)
            if slot is not None:
                return slot
        entry = self.models.get(model)
        if entry is None:
            raise NotFound(f"unknown model {model!r:.120}")
        if not version:
            raise Unavailable(f"model '{model}' has no ready version{_why(entry)}")
        if version.isascii() and version.isdecimal() and len(version) <= _MOST_DIGITS:
            slot = entry.versions.get(int(version))
            if slot is not None:
                return slot
        raise NotFound(f"model '{model}' has no version {version!r:.40}; it has {sorted(entry.versions)}")

    def with_model(self, name: str, entry: ModelEntry[G]) -> "Catalog[G]":
        """Return a catalog in which one model's entry is another, and all else is as it was."""
        newest = {**self._newest}
        newest.pop(name, None)
        slot = entry.newest_ready
        if slot is not None:
            newest[name] = slot
        # Made without a look at the other models: a thousand of them, each put several times, would take seconds.
        catalog: Catalog[G] = Catalog()
        object.__setattr__(catalog, "models", {**self.models, name: entry})
        object.__setattr__(catalog, "_newest", MappingProxyType(newest))
        return catalog

    def slots(self) -> Iterator[VersionSlot[G]]:
        """Every version of every model, by name and number."""
        for name in sorted(self.models):
            yield from self.models[name].versions.values()


def _why(entry: ModelEntry[G]) -> str:
    reasons = [f"version {slot.version} is {slot.state.value}" for slot in entry.versions.values()]
    return ": " + (entry.problem or "; ".join(reasons)) if entry.problem or reasons else ""
