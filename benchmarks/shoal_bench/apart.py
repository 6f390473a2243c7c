"""CPUs of their own for the servers, and one for the load: a generator stands for other machines, and takes no CPU.

Where both share them, a call that is refused costs the server what the generator takes to make it.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Division:
    """Which CPUs are whose; the same ones where they are shared."""

    servers: tuple[int, ...]
    generator: tuple[int, ...]


def divided(cpus: Collection[int]) -> Division:
    """Return the last CPU for the generator and the others for the servers; where there is one, both have it."""
    ordered = tuple(sorted(cpus))
    return Division(ordered[:-1] or ordered, ordered[-1:])


def shared(cpus: Collection[int]) -> Division:
    """Return all CPUs for both."""
    ordered = tuple(sorted(cpus))
    return Division(ordered, ordered)


def our_cpus() -> frozenset[int]:
    """Return the CPUs that we may use; empty where the system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


@contextmanager
def confined(cpus: Collection[int]) -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts, to some CPUs; to none in particular for none."""
    before = our_cpus()
    if not cpus or not before:
        yield
        return
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
