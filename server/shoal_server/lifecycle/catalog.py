"""Which versions there are: an immutable snapshot, replaced whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic

from shoal_server.errors import NotFound, Unavailable
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.slot import G, VersionSlot
from shoal_server.lifecycle.states import VersionState

STABLE: Final = "stable"
"""The label of the version that calls without a version reach."""

PREVIOUS: Final = "previous"
"""The label of the version that the last swap replaced."""

_MOST_DIGITS: Final = 18  # below 2 ** 63


@dataclass(frozen=True, slots=True)
class ModelEntry(Generic[G]):
    """One model: its versions, ascending, and why it has none where its description failed.

    ``refused`` are versions that are present and were not even tried, with the reasons. ``desired`` is what operators
    want. ``stand_in`` is the version that the one they want to answer has replaced in this process: it answers where
    that one can serve no more, for as long as it is kept.
    """

    versions: Mapping[int, VersionSlot[G]] = field(default_factory=dict)
    problem: str = ""
    refused: Mapping[int, str] = field(default_factory=dict)
    desired: Desired = field(default_factory=Desired)
    stand_in: int | None = None

    @property
    def ready(self) -> tuple[int, ...]:
        """The versions that serve, ascending."""
        return tuple(version for version, slot in self.versions.items() if slot.state is VersionState.READY)

    @property
    def newest_ready(self) -> VersionSlot[G] | None:
        """The highest version that serves."""
        ready = [slot for slot in self.versions.values() if slot.state is VersionState.READY]
        return max(ready, key=lambda slot: slot.version, default=None)

    @property
    def answering(self) -> VersionSlot[G] | None:
        """What calls without a version reach."""
        current = self.desired.current
        if current is None:
            return self.newest_ready
        if not current:
            return None
        return self._if_ready(current) or self._if_ready(self.stand_in)

    @property
    def labels(self) -> dict[str, int]:
        """Every label that stands for a version, with the version."""
        labels = dict(self.desired.labels)
        if (slot := self.answering) is not None:
            labels[STABLE] = slot.version
        if self.desired.previous is not None:
            labels[PREVIOUS] = self.desired.previous
        return labels

    def _if_ready(self, version: int | None) -> VersionSlot[G] | None:
        slot = self.versions.get(version) if version is not None else None
        return slot if slot is not None and slot.state is VersionState.READY else None


@dataclass(frozen=True, slots=True)
class Catalog(Generic[G]):
    """All models. Readers keep no lock: whoever holds a catalog sees one consistent moment."""

    models: Mapping[str, ModelEntry[G]] = field(default_factory=dict)
    _answering: Mapping[str, VersionSlot[G]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        answering = {name: slot for name, entry in self.models.items() if (slot := entry.answering) is not None}
        object.__setattr__(self, "_answering", answering)

    def resolve(self, model: str, version: str) -> VersionSlot[G]:
        """Return the version of that number or label, or for an empty ``version`` the one that answers.

        Raises:
            NotFound: no such model, version or label.
            Unavailable: the model is known, but nothing of it answers; or the label's version is not loaded.
        """
        if not version:
            slot = self._answering.get(model)
            if slot is not None:
                return slot
        entry = self.models.get(model)
        if entry is None:
            raise NotFound(f"unknown model {model!r:.120}")
        if not version:
            raise Unavailable(f"model '{model}' {_why_none(entry)}")
        if version.isascii() and version.isdecimal():
            slot = entry.versions.get(int(version)) if len(version) <= _MOST_DIGITS else None
            if slot is None:
                raise NotFound(f"model '{model}' has no version {version!r:.40}; it has {sorted(entry.versions)}")
            return slot
        return self._labelled(model, entry, version)

    def with_model(self, name: str, entry: ModelEntry[G]) -> "Catalog[G]":
        """Return a catalog in which one model's entry is another, and all else is as it was."""
        answering = {**self._answering}
        answering.pop(name, None)
        slot = entry.answering
        if slot is not None:
            answering[name] = slot
        # Made without a look at the other models: a thousand of them, each put several times, would take seconds.
        catalog: Catalog[G] = Catalog()
        object.__setattr__(catalog, "models", {**self.models, name: entry})
        object.__setattr__(catalog, "_answering", answering)
        return catalog

    def slots(self) -> Iterator[VersionSlot[G]]:
        """Every version of every model, by name and number."""
        for name in sorted(self.models):
            yield from self.models[name].versions.values()

    def _labelled(self, model: str, entry: ModelEntry[G], label: str) -> VersionSlot[G]:
        if label == STABLE:
            return self.resolve(model, "")
        labels = entry.labels
        version = labels.get(label)
        if version is None:
            named = f" and the labels {sorted(labels)}" if labels else ""
            raise NotFound(f"model '{model}' has no version {label!r:.40}; it has {sorted(entry.versions)}{named}")
        slot = entry.versions.get(version)
        if slot is None:
            raise Unavailable(f"label '{label}' of model '{model}' is version {version}, which is not loaded")
        return slot


def _why_none(entry: ModelEntry[G]) -> str:
    if entry.ready:
        current = entry.desired.current
        slot = entry.versions.get(current) if current else None
        chosen = f"version {current} is to, and is {slot.state.value if slot else 'not there'}" if current else ""
        ready = ", ".join(map(str, entry.ready))
        return f"answers no calls without a version: {chosen or 'none was chosen'}; ready: {ready}"
    reasons = entry.problem or "; ".join(map(_what_became_of, entry.versions.values()))
    return "has no ready version" + (f": {reasons}" if reasons else "")


def _what_became_of(slot: VersionSlot[G]) -> str:
    reason = f" ({slot.reason})" if slot.state is VersionState.FAILED and slot.reason else ""
    return f"version {slot.version} is {slot.state.value}{reason}"
