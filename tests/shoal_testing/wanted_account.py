"""A naive account of one model under its operators' changes: what is wanted, what serves, and what each change may do.

Written from the documentation, and not from the code that it is held against. Changes come one after the other.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

OK: Final = ""
FOUND_BROKEN: Final = "LoadFailed"
NOT_FOUND: Final = "NotFound"
REFUSED: Final = "PreconditionFailed"


@dataclass
class Account:
    """``present`` versions are in the source, which wants those of ``policy``; ``broken`` ones cannot be loaded."""

    present: Collection[int]
    policy: Collection[int]
    broken: set[int] = field(default_factory=set)
    wanted: set[int] | None = None
    current: int | None = None
    previous: int | None = None
    labels: dict[str, int] = field(default_factory=dict)
    serving: set[int] = field(default_factory=set)
    warm: set[int] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    stand_in: int | None = None

    def start(self) -> None:
        """A server starts and knows what was recorded."""
        self.listed = set(self.policy if self.wanted is None else self.wanted)
        self.serving = self.listed - self.broken
        self.warm, self.stand_in = set(), None

    @property
    def answering(self) -> int:
        """The version that calls without one reach, 0 for none."""
        if self.current is None:
            return max(self.serving, default=0)
        if not self.current:
            return 0  # the one that answered was unloaded: none takes its place, not even one that is kept warm
        return next((one for one in (self.current, self.stand_in) if one in self.serving), 0)

    def swap(self, version: int, *, keep_warm: bool, dry_run: bool) -> str:
        if self.answering == version and self.current in {None, version}:
            return OK
        if problem := self._loadable(version, dry_run=dry_run):
            return problem
        if not dry_run:
            self._answer_by(version, keep_warm=keep_warm)
        return OK

    def load(self, version: int, *, dry_run: bool) -> str:
        if version in self.serving and version in (self.serving if self.wanted is None else self.wanted):
            return OK
        if problem := self._loadable(version, dry_run=dry_run):
            return problem
        if not dry_run:
            self._pin()
            assert self.wanted is not None
            self.wanted.add(version)
            self.serving.add(version)
            self.warm.discard(version)
        return OK

    def unload(self, version: int, *, force: bool, dry_run: bool) -> str:
        if version not in self.listed and version not in (self.wanted or ()):
            return NOT_FOUND
        if version in {self.answering, self.current} and not force:
            return REFUSED
        if dry_run or (version not in self.serving and version not in (self.wanted or ())):
            return OK
        self._pin()
        assert self.wanted is not None
        self.wanted.discard(version)
        self.current = 0 if self.current == version else self.current
        self.previous = None if self.previous == version else self.previous
        self.stand_in = None if self.stand_in == version else self.stand_in
        self.labels = {label: number for label, number in self.labels.items() if number != version}
        self._stop({version})
        return OK

    def roll_back(self, *, dry_run: bool) -> str:
        if self.previous is None:
            return REFUSED
        if problem := self._loadable(self.previous, dry_run=dry_run):
            return problem
        if not dry_run:
            self._answer_by(self.previous, keep_warm=False)
            self.previous = self.stand_in = None
        return OK

    def set_label(self, label: str, version: int) -> str:
        if self.labels.get(label, 0) == version:
            return OK
        if version and version not in self.listed:
            return NOT_FOUND
        if version and version not in self.serving:
            return REFUSED
        self.labels.pop(label, None)
        if version:
            self.labels[label] = version
        return OK

    def follow_policy(self) -> str:
        """What RepositoryModelLoad does."""
        if self.wanted == set():
            self._follow()
        missing = set(self.policy) - self.serving
        self.listed |= missing
        self.serving |= missing - self.broken
        if not missing & self.broken:
            self._follow()
            return OK
        if self.wanted is not None:
            self._stop(self.serving - self.wanted - self.warm - {self.answering})
        return FOUND_BROKEN

    def unload_all(self) -> None:
        """What RepositoryModelUnload does."""
        self._stop(self.serving)
        self.wanted, self.current, self.previous, self.labels, self.stand_in = set(), 0, None, {}, None

    def engine_breaks(self, version: int) -> None:
        self._stop({version})

    def time_passes(self) -> None:
        """What was kept warm has been, for long enough."""
        self._stop(self.warm - {self.answering})
        self.warm = set()

    def _loadable(self, version: int, *, dry_run: bool) -> str:
        if version not in self.present:
            return NOT_FOUND
        if version in self.serving:
            return OK
        if not dry_run:
            self.listed.add(version)
        return FOUND_BROKEN if version in self.broken else OK

    def _answer_by(self, version: int, *, keep_warm: bool) -> None:
        self._pin()
        assert self.wanted is not None
        replaced = self.answering
        self.wanted = self.wanted - {self.current, replaced} | {version}
        self.current = version
        self.previous = self.stand_in = replaced if replaced not in {0, version} else None
        self.serving.add(version)
        self.warm.discard(version)
        kept = {replaced} - self.wanted - {0} if keep_warm else set()
        self._stop(self.serving - self.wanted - kept)
        self.warm |= kept

    def _pin(self) -> None:
        if self.wanted is None:
            self.wanted, self.current = set(self.serving), self.answering

    def _follow(self) -> None:
        kept = self.serving & set(self.policy)
        self.labels = {label: number for label, number in self.labels.items() if number in kept}
        self._stop(self.serving - kept)
        self.warm = set()
        self.wanted = self.current = self.previous = self.stand_in = None

    def _stop(self, versions: Collection[int]) -> None:
        self.serving = self.serving - set(versions)
        self.warm = self.warm - set(versions)
