"""How much processor this process may use: the smallest of its cgroups' quotas and its affinity."""

import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> float:
    """Return the number of CPUs that may be used at once, as a container's quota gives it (1.5, say), > 0."""
    return min([_affinity(), *_quotas(root)])


def _affinity() -> float:
    if hasattr(os, "sched_getaffinity"):
        return float(len(os.sched_getaffinity(0)))
    return float(os.cpu_count() or 1)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota of every cgroup from this process's own up to the top; one without a quota yields nothing."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        # See cgroups(7): hierarchy id, controllers, path; version 2 has the id 0 and no controllers.
        _id, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents):
            if not controllers:
                yield from _version_2(mount / group)
                yield from _version_2(mount / "unified" / group)
            elif "cpu" in controllers.split(","):
                yield from _version_1(mount / controllers / group)
                yield from _version_1(mount / "cpu" / group)


def _version_2(group: Path) -> Iterator[float]:
    quota_us, _, period_us = _read(group / "cpu.max").partition(" ")
    yield from _ratio(quota_us, period_us)


def _version_1(group: Path) -> Iterator[float]:
    yield from _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota_us: str, period_us: str) -> Iterator[float]:
    """Yield the quota in CPUs; nothing for "max", -1 or a file that is not there."""
    if quota_us.strip().isdecimal() and period_us.strip().isdecimal() and int(quota_us) and int(period_us):
        yield int(quota_us) / int(period_us)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
