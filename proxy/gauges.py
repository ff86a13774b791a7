"""What a worker's parts show of themselves, read when somebody scrapes: plain attributes, no cost in between.

Also the pulse that feels the event loop's lag.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from proxy import __version__, board
from proxy.metrics import Histogram

if TYPE_CHECKING:
    from proxy.app import Gateway

_BEAT = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_FDS = "/proc/self/fd"


def read(gateway: Gateway) -> dict[str, float]:
    """Every gauge of a worker as `name{labels}` → value, and the counters that its parts keep themselves."""
    transport, ledger = gateway.transport, gateway.ledger
    memory = int(_STATM.read_text().split()[1]) * _PAGE
    used = resource.getrusage(resource.RUSAGE_SELF)
    worker = f'{{worker="{os.getpid()}"}}'
    out: dict[str, float] = {
        "loopway_workers": 1,
        "loopway_client_connections": len(gateway.edge.connections),
        'loopway_upstream_connections{state="busy"}': transport.busy,
        'loopway_upstream_connections{state="idle"}': transport.idle,
        "loopway_keys_refused_total": gateway.metrics.keys_refused + gateway.notes.keys_refused,
        "loopway_ledger_waiting": ledger.waiting,
        "loopway_ledger_dropped_total": ledger.dropped,
        "loopway_ledger_failing": int(ledger.failing),
        "loopway_limits_apart": len(gateway.live.limiters.apart),
        "loopway_cache_bytes": gateway.cache.memory.size,
        "loopway_config_rejected": int(gateway.live.rejected),
        "loopway_store_failing": int(gateway.live.failing),
        "loopway_resident_memory_bytes": memory,
        f"loopway_worker_resident_memory_bytes{worker}": memory,
        f"loopway_worker_cpu_seconds{worker}": used.ru_utime + used.ru_stime,
        "loopway_open_fds": len(os.listdir(_FDS)),
        "loopway_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    out.update(board.gauges(gateway.live.healths, monotonic()))
    if gateway.redis is not None:
        out["loopway_redis_down"] = int(not gateway.redis.up)
    return out


def shared(gateway: Gateway) -> dict[str, float]:
    """What the workers of this host count together: the same from each of them, and dear where keys are many, so it is
    read by the one that is scraped and by no other."""
    held = {"API key": 0, "virtual key": 0}
    queued = 0
    for (what, _), limiter in list(gateway.live.limiters.all.items()):
        held[what] = held.get(what, 0) + limiter.held
        queued += limiter.queued
    out: dict[str, float] = {"loopway_queue_length": queued}
    out[f'loopway_build_info{{version="{__version__}",python="{platform.python_version()}"}}'] = 1
    for what, count in held.items():
        out[f'loopway_permits_held{{kind="{what.lower().replace(" ", "_")}"}}'] = count
    return out


def disk(directory: Path) -> dict[str, float]:
    """What is left of the disk that has the data directory. Nothing where nobody knows."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return {}
    return {
        "loopway_data_free_bytes": found.f_bavail * found.f_frsize,
        "loopway_data_size_bytes": found.f_blocks * found.f_frsize,
    }


class Pulse:
    """A timer that notes how late it comes: what stands in the way of every request of this worker. `told` hears of
    each beat, by how many seconds it was late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lag: Histogram, told: Callable[[float], None]) -> None:
        self._loop = loop
        self._lag = lag
        self._told = told
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to beat."""
        self._due = self._loop.time() + _BEAT
        self._timer = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        late = max(0.0, self._loop.time() - self._due)
        self._lag.add(late)
        self._told(late)
        self.start()

    def stop(self) -> None:
        """Ends."""
        if self._timer is not None:
            self._timer.cancel()
