"""How much of its memory the container has left that this process runs in: what the kernel's memory killer looks at.

Limits of cgroups, version 2 and 1; a unit's `MemoryMax` and a pod's limit are both one. The files stay open, so that a
look costs a read each and no search for names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Self

_UNLIMITED = 1 << 60  # version 1 says "no limit" with the largest number of pages
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Version(NamedTuple):
    """Where one version of cgroups has what. `reclaimable` are the lines of `memory.stat` that count files' pages."""

    controller: str
    root: str
    limit: str
    usage: str
    reclaimable: tuple[bytes, bytes]


_VERSIONS = (
    _Version("", "", "memory.max", "memory.current", (b"inactive_file", b"active_file")),
    _Version(
        "memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        (b"total_inactive_file", b"total_active_file"),
    ),
)


class Container:
    """The memory of the innermost cgroup that has a limit. `limit` is in bytes."""

    def __init__(self, folder: Path, version: _Version, limit: int) -> None:
        self.limit = limit
        self._reclaimable = version.reclaimable
        self._usage = os.open(folder / version.usage, os.O_RDONLY)
        self._stat = os.open(folder / "memory.stat", os.O_RDONLY)
        self._own = os.open("/proc/self/statm", os.O_RDONLY)

    @classmethod
    def find(cls, mounted: Path = Path("/sys/fs/cgroup"), said: Path = Path("/proc/self/cgroup")) -> Self | None:
        """The one of this process; None if nothing limits it. `said` is where the kernel says in which it is."""
        try:
            lines = [line.split(":", 2) for line in said.read_text("ascii", "replace").splitlines()]
        except OSError:
            return None
        for version in _VERSIONS:
            for _, controllers, path in lines:
                if version.controller in controllers.split(","):
                    found = cls._limited(mounted / version.root, path, version)
                    if found is not None:
                        return found
        return None

    @classmethod
    def _limited(cls, root: Path, path: str, version: _Version) -> Self | None:
        # Inside a container its own cgroup is the root, whatever the path says; outside a parent may have the limit.
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            try:
                limit = (folder / version.limit).read_text("ascii").strip()
                if limit.isdecimal() and int(limit) < _UNLIMITED:
                    return cls(folder, version, int(limit))
            except OSError:
                pass
            if folder == root:
                return None
        return None

    def used(self) -> float:
        """The share of the limit that is in use, without what the kernel could give back at once. Raises OSError."""
        usage = int(os.pread(self._usage, 32, 0))
        if usage < self.limit // 2:
            return usage / self.limit
        kept = 0
        for line in os.pread(self._stat, 1 << 14, 0).splitlines():
            name, _, count = line.partition(b" ")
            if name in self._reclaimable:
                kept += int(count)
        return max(0, usage - kept) / self.limit

    def own(self) -> float:
        """The share of the limit that this process has. Raises OSError."""
        return int(os.pread(self._own, 128, 0).split()[1]) * _PAGE / self.limit

    def close(self) -> None:
        """Lets the files go."""
        for descriptor in (self._usage, self._stat, self._own):
            os.close(descriptor)
