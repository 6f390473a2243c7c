"""What operators want of a model, and what each of their operations makes of it. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Desired:
    """What operators want of one model; as it is made, nothing, so that the source's policy holds.

    ``versions`` are to be loaded, ascending; None follows the policy. ``current`` is reached by calls without a
    version: None means the newest that is ready, 0 none at all. ``previous`` is what the last swap replaced. ``labels``
    stand for versions.
    """

    versions: tuple[int, ...] | None = None
    current: int | None = None
    previous: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert (self.versions is None) == (self.current is None), f"{self}: a policy has no operator's current version"

    @property
    def empty(self) -> bool:
        """Whether nothing is wanted that the source's policy does not say."""
        return self == Desired()


def pinned(desired: Desired, ready: Collection[int], current: int) -> Desired:
    """Return what is wanted by number: of a model that follows the policy, the versions that serve."""
    if desired.versions is not None:
        return desired
    return replace(desired, versions=tuple(sorted(ready)), current=current)


def swapped(desired: Desired, version: int, replaced: int) -> Desired:
    """A version takes the place of the one that answers, ``replaced`` (0 for none)."""
    leaving = {desired.current, replaced}
    kept = {number for number in desired.versions or () if number not in leaving}
    previous = replaced if replaced not in {0, version} else None
    return replace(desired, versions=tuple(sorted(kept | {version})), current=version, previous=previous)


def loaded(desired: Desired, version: int) -> Desired:
    """A version is loaded beside the one that answers."""
    return replace(desired, versions=tuple(sorted({*(desired.versions or ()), version})))


def unloaded(desired: Desired, version: int) -> Desired:
    """A version leaves, and the labels that stood for it; if it answered, none does any more."""
    return Desired(
        tuple(number for number in desired.versions or () if number != version),
        0 if desired.current == version else desired.current,
        None if desired.previous == version else desired.previous,
        {label: number for label, number in desired.labels.items() if number != version},
    )


def rolled_back(desired: Desired, replaced: int) -> Desired:
    """What the last swap replaced answers again; there is then nothing more to roll back to."""
    assert desired.previous is not None, "whoever rolls back has looked"
    return replace(swapped(desired, desired.previous, replaced), previous=None)


def labelled(desired: Desired, label: str, version: int) -> Desired:
    """A label stands for a version, which is then wanted for good, also where its time was running; 0 for none."""
    labels = {name: number for name, number in desired.labels.items() if name != label}
    if not version:
        return replace(desired, labels=labels)
    kept = desired if desired.versions is None else loaded(desired, version)
    return replace(kept, labels={**labels, label: version})


def following(desired: Desired, ready: Collection[int]) -> Desired:
    """The policy is followed again; labels that stand for a version which is ready stay."""
    return Desired(labels={label: number for label, number in desired.labels.items() if number in ready})


def stopped() -> Desired:
    """Nothing is to be loaded."""
    return Desired(versions=(), current=0)
