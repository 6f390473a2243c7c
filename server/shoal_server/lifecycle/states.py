"""The life of a model version: its states, and the only moves between them."""

from enum import Enum
from typing import Final


class VersionState(Enum):
    """Where a version stands.

    ::

        QUEUED ─> LOADING ─> WARMING ─> READY ─> DRAINING ─> UNLOADING ─> UNLOADED
           └─────────┴──────────┴─> FAILED

    QUEUED: waits for a thread. WARMING: loaded; the owner's warm-up requests run, or it waits to be published.
    DRAINING: withdrawn, its last requests run.
    """

    QUEUED = "queued"
    LOADING = "loading"
    WARMING = "warming up"
    READY = "ready"
    DRAINING = "draining"
    UNLOADING = "unloading"
    UNLOADED = "unloaded"
    FAILED = "failed"


TRANSITIONS: Final[dict[VersionState, frozenset[VersionState]]] = {
    VersionState.QUEUED: frozenset({VersionState.LOADING, VersionState.FAILED}),
    VersionState.LOADING: frozenset({VersionState.WARMING, VersionState.FAILED}),
    VersionState.WARMING: frozenset({VersionState.READY, VersionState.FAILED}),
    VersionState.READY: frozenset({VersionState.DRAINING}),
    VersionState.DRAINING: frozenset({VersionState.UNLOADING}),
    VersionState.UNLOADING: frozenset({VersionState.UNLOADED}),
    VersionState.UNLOADED: frozenset(),
    VersionState.FAILED: frozenset(),
}


class IllegalTransition(Exception):
    """A bug: a version was moved as the table does not allow; nothing changed."""
