"""A naive account of one model under its operators' changes: what is wanted, what serves, and what each change may do.

Written from the documentation, and not from the code that it is held against. Changes come one after the other.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_testing.fake_model import Kind
from shoal_testing.wanted_wish import FOUND_BROKEN, NOT_FOUND, REFUSED, UNAVAILABLE, Done, Refused, Wish

if TYPE_CHECKING:
    from shoal_testing.wanted_world import World


@dataclass
class Account:
    """One model.

    ``policy`` versions are wanted by the source; ``refused`` ones are half written, ``broken`` ones cannot be loaded,
    the files of ``stale`` ones have changed since. ``kinds`` are the signatures in the files, ``serving`` those that
    serve. ``warm`` says until when versions are kept, ``held`` which of them stay meanwhile whatever their time.
    """

    world: "World"
    name: str
    present: Collection[int]
    policy: Collection[int]
    kinds: dict[int, Kind]
    broken: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    wish: Wish = field(default_factory=Wish)
    serving: dict[int, Kind] = field(default_factory=dict)
    warm: dict[int, float] = field(default_factory=dict)
    held: Collection[int] = ()
    listed: set[int] = field(default_factory=set)
    stand_in: int | None = None

    def start(self, wish: Wish) -> bool:
        """Return whether there is something to load."""
        self.wish = wish
        self.listed = set(self._policy() if wish.versions is None else wish.versions)
        self.serving, self.warm, self.stale, self.stand_in = {}, {}, set(), None
        return bool(self.listed - self.refused)

    def started(self) -> None:
        self.serving = {version: self.kinds[version] for version in self.listed - self.broken - self.refused}

    @property
    def answering(self) -> int:
        """The version that calls without one reach, 0 for none."""
        current = self.wish.current
        if current is None:
            return max(self.serving, default=0)
        if not current:
            return 0  # the one that answered was unloaded: none takes its place, not even one that is kept warm
        return next((one for one in (current, self.stand_in) if one in self.serving), 0)

    def reached(self, version: str) -> int | str:
        """Return which version a call for a number or label reaches, or the name of the error."""
        if version.isdecimal():
            return int(version) if int(version) in self.listed else NOT_FOUND
        if version in {"", "stable"}:
            return self.answering or UNAVAILABLE
        labels = {**dict(self.wish.labels), **({"previous": self.wish.previous} if self.wish.previous else {})}
        if version not in labels:
            return NOT_FOUND
        return labels[version] if labels[version] in self.listed else UNAVAILABLE

    def operate(self, request: Request) -> Done:
        if request.expected and request.expected != self.answering:
            raise Refused(REFUSED)
        if not request.dry_run:
            self.world.foresee()
        match request:
            case Swap():
                return self._swap(request)
            case Load():
                return self._load(request)
            case Unload():
                return self._unload(request)
            case Rollback():
                return self._roll_back(request)
            case SetLabel():
                return self._set_label(request)
            case _:
                raise AssertionError(request)

    def _swap(self, request: Swap) -> Done:
        version = request.version
        if self.answering == version and self.wish.current in {None, version}:
            return self._unchanged()
        fresh = self._obtained(version, dry_run=request.dry_run)
        kind = self.kinds[version] if fresh else self.serving[version]
        if not request.allow_signature_change and self.answering:
            before = self.serving[self.answering]
            if before is not kind and before is Kind.OPTIONAL:  # an input would be gone; one more breaks nobody
                raise Refused(REFUSED)
        replaced, wish = self.answering, self._pinned()
        assert wish.versions is not None
        wish = replace(
            wish,
            versions=wish.versions - {wish.current, replaced} | {version},
            current=version,
            previous=replaced if replaced not in {0, version} else None,
        )
        keep_warm_s = self.world.keep_warm_s if request.keep_warm_s is None else request.keep_warm_s
        return self._change(request, wish, version, wish.previous, fresh=fresh, keep_warm_s=keep_warm_s)

    def _load(self, request: Load) -> Done:
        version = request.version
        wanted = self.serving if self.wish.versions is None else self.wish.versions
        if version in wanted and version in self.serving:
            return self._unchanged()
        fresh = self._obtained(version, dry_run=request.dry_run)
        wish = self._pinned()
        assert wish.versions is not None
        wish = replace(wish, versions=wish.versions | {version})
        return self._change(request, wish, version, self.stand_in, fresh=fresh, leaving=())

    def _unload(self, request: Unload) -> Done:
        version = request.version
        if version not in self.listed and version not in (self.wish.versions or ()):
            raise Refused(NOT_FOUND)
        if version in {self.answering, self.wish.current} and not request.force:
            raise Refused(REFUSED)
        if version not in self.serving and version not in (self.wish.versions or ()):
            return self._unchanged()
        before = self._pinned()
        assert before.versions is not None
        wish = Wish(
            before.versions - {version},
            0 if before.current == version else before.current,
            None if before.previous == version else before.previous,
        ).with_labels({label: number for label, number in before.labels if number != version})
        stand_in = None if self.stand_in == version else self.stand_in
        return self._change(request, wish, None, stand_in, leaving={version})

    def _roll_back(self, request: Rollback) -> Done:
        previous = self.wish.previous
        if previous is None:
            raise Refused(REFUSED)
        # One that is still warm answers as it is, whatever has become of its file.
        fresh = previous not in self.serving and self._obtained(previous, dry_run=request.dry_run)
        assert self.wish.versions is not None
        versions = self.wish.versions - {self.wish.current, self.answering} | {previous}
        wish = Wish(versions, previous, None, self.wish.labels)
        return self._change(request, wish, previous, None, fresh=fresh)

    def _set_label(self, request: SetLabel) -> Done:
        labels, label, version = dict(self.wish.labels), request.label, request.version
        wanted = self.wish.versions is None or version in {0, *self.wish.versions}
        if labels.get(label, 0) == version and wanted:
            return self._unchanged()
        if version and version not in {*self.listed, *self.present}:
            raise Refused(NOT_FOUND)
        if version and version not in self.serving:
            raise Refused(REFUSED)
        labels.pop(label, None)
        wish = self.wish
        if version:
            labels[label] = version
            if wish.versions is not None:  # what has a label stays, as if it had been loaded
                wish = replace(wish, versions=wish.versions | {version})
        return self._change(request, wish.with_labels(labels), version or None, self.stand_in, leaving=())

    def follow_policy(self) -> str:
        """What RepositoryModelLoad does; return the name of its error."""
        try:
            self._follow_policy()
        except Refused as refused:
            return refused.name
        return ""

    def _follow_policy(self) -> None:
        if self.wish != Wish():
            self.world.foresee()
        wanted = self._policy()
        missing = {version for version in wanted if version not in self.serving or version in self.stale}
        try:
            if self.wish.versions == frozenset():
                self._follow(wanted)
            self.listed |= missing
            serving_on = self.serving.keys() & (wanted | self.refused)
            self._while_held(serving_on, lambda: self.world.pass_time(self.world.load_s if missing else 0.0))
            for version in missing - self.broken:
                self._serve(version)
            if not missing & self.broken:
                self._follow(wanted)
        finally:
            if self.wish.versions is not None:
                self.stop(self.serving.keys() - self.wish.versions - self.warm.keys() - {self.answering})
        if missing & self.broken or set(self.policy) & self.refused:
            raise Refused(FOUND_BROKEN)

    def unload_all(self) -> str:
        """What RepositoryModelUnload does; return the name of its error."""
        wish = Wish(frozenset(), 0)
        try:
            self.world.put(self.name, wish)
        except Refused as refused:
            return refused.name
        self.wish, self.stand_in = wish, None
        self.stop(self.serving.keys())
        return ""

    def write_anew(self, version: int, kind: Kind) -> None:
        """The version's file is another, with such a signature."""
        self.kinds[version] = kind
        self.stale |= {version} & self.serving.keys()

    def stop(self, versions: Collection[int]) -> None:
        for version in set(versions):
            self.serving.pop(version, None)
            self.warm.pop(version, None)
            self.stale.discard(version)

    def due(self) -> list[float]:
        """Return when what is kept warm will have been for long enough."""
        return [until_s for version, until_s in self.warm.items() if version not in self.held]

    def cool(self) -> None:
        for version, until_s in [*self.warm.items()]:
            if until_s <= self.world.now_s and version not in self.held:
                del self.warm[version]
                if version != self.answering:
                    self.stop({version})

    def _policy(self) -> set[int]:
        return set(self.policy) - self.refused

    def _obtained(self, version: int, *, dry_run: bool) -> bool:
        """Have a version that could serve; return whether it was loaded now."""
        if version in self.refused:
            raise Refused(FOUND_BROKEN)
        if version not in self.present:
            raise Refused(NOT_FOUND)
        if version in self.serving and version not in self.stale:
            return False
        if not dry_run:
            self.listed.add(version)
        self.world.pass_time(self.world.load_s)
        if version in self.broken:
            raise Refused(FOUND_BROKEN)
        return True

    def _change(  # noqa: PLR0913 - what each kind of change decides
        self,
        request: Request,
        wish: Wish,
        version: int | None,
        stand_in: int | None,
        *,
        fresh: bool = False,
        leaving: Collection[int] | None = None,
        keep_warm_s: float = 0.0,
    ) -> Done:
        if request.dry_run:
            return self._unchanged()
        old = self.wish
        gone = set(self.serving) - (wish.versions or set()) if leaving is None else set(leaving)
        held = {version} if version is not None and not fresh else set()
        recorded = self._while_held(held, lambda: self.world.put(self.name, wish))
        if version is not None and not fresh and version not in self.serving:
            self.world.put(self.name, old)
            raise Refused(UNAVAILABLE)
        before = self.answering
        self.wish, self.stand_in = wish, stand_in
        if version is not None and fresh:
            self._serve(version)
        elif version is not None:
            self.warm.pop(version, None)
        gone &= self.serving.keys()
        kept = keep_warm_s > 0 and before in gone
        if kept:
            gone.remove(before)
            self.warm[before] = self.world.now_s + keep_warm_s
        self.stop(gone)
        return Done(before, self.answering, changed=True, recorded=recorded, kept=kept)

    def _serve(self, version: int) -> None:
        self.stop({version})
        self.serving[version] = self.kinds[version]

    def _while_held(self, versions: Collection[int], work: Callable[[], bool | None]) -> bool:
        """Keep versions while the work lasts, whatever their time; those that are not wanted then get it back."""
        self.held = versions
        try:
            return bool(work())
        finally:
            self.held = ()

    def _unchanged(self) -> Done:
        return Done(self.answering, self.answering)

    def _pinned(self) -> Wish:
        if self.wish.versions is not None:
            return self.wish
        return replace(self.wish, versions=frozenset(self.serving), current=self.answering)

    def _follow(self, wanted: set[int]) -> None:
        keep = wanted | self.refused  # what serves and is being written anew serves on
        kept = self.serving.keys() & keep
        wish = Wish().with_labels({label: number for label, number in self.wish.labels if number in kept})
        self._while_held(kept, lambda: self.world.put(self.name, wish))
        self.wish, self.stand_in = wish, None
        self.stop(self.serving.keys() - keep)
        for version in keep:
            self.warm.pop(version, None)
