"""Processes on cores: starting them pinned, reading what they used, ending them with all their children.

CPU time is the kernel's nanosecond account of every thread of the tree (`/proc/<pid>/task/*/schedstat`); where a thread
has ended in between, or there is no such account, the coarser times of psutil stand in.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Layout:
    """Which cores each party gets. Empty sets where the machine cannot pin."""

    gateway: frozenset[int]
    upstream: frozenset[int]
    client: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether upstream and client sit on one core, so that their CPU adds up on it."""
        return self.upstream == self.client

    def __str__(self) -> str:
        def cores(which: frozenset[int]) -> str:
            return ",".join(map(str, sorted(which))) or "any"

        return (
            f"gateway on core {cores(self.gateway)}, upstream on {cores(self.upstream)}, client on {cores(self.client)}"
        )


def layout() -> Layout:
    """The gateway alone on the first core; upstream and client share the second, or take the two after it."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        return Layout(frozenset(), frozenset(), frozenset())
    return Layout(frozenset(cores[:1]), frozenset(cores[1:2]), frozenset(cores[2:3] or cores[1:2]))


def pin(cores: frozenset[int]) -> None:
    """Keep this process on `cores`."""
    if cores:
        os.sched_setaffinity(0, cores)


def raise_file_limit() -> int:
    """Allow as many open files as the machine permits; children inherit it. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(
    argv: list[str],
    cores: frozenset[int],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    log: IO[bytes] | None = None,
    piped: bool = False,
) -> subprocess.Popen[str]:
    """Start `argv` on `cores`; it is told to end when this process does. `piped` gives it text streams of ours."""
    libc = ctypes.CDLL(None) if _LINUX else None

    def prepare() -> None:
        pin(cores)
        if libc is not None:
            # Ours may stand still when this process is killed, and would not hear a polite signal.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if piped else signal.SIGTERM)

    return subprocess.Popen(
        argv,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else log,
        stderr=None if piped else log,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


def set_yielding(pid: int, yields: bool) -> None:
    """Whether the threads of a process let others on their core work on when they wake (SCHED_BATCH), where the system
    knows that. Who shares a core with a busy process interrupts it otherwise, once a request, at that process' cost."""
    if not _LINUX:
        return
    policy = os.SCHED_BATCH if yields else os.SCHED_OTHER
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setscheduler(int(thread), policy, os.sched_param(0))


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants, parents first; empty when it has gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(pid: int, number: signal.Signals) -> None:
    """Signal the whole tree, children first: a supervisor that wakes before its workers may think them hung."""
    for process in reversed(tree(pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def end(process: subprocess.Popen[str], patience: float = 3.0) -> bool:
    """Ask the tree to end, then make it. Whether asking was enough."""
    members = tree(process.pid)
    send(process.pid, signal.SIGCONT)
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        obeyed = False
    else:
        obeyed = True
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    return obeyed


@dataclass
class Usage:
    """What a process tree has used up to now: CPU, and memory at this moment."""

    threads: dict[tuple[int, int], int] = field(default_factory=dict)  # (process, thread): nanoseconds
    seconds: float = 0.0
    rss: int = 0
    largest: int = 0

    def since(self, before: Usage) -> float:
        """CPU seconds between two readings."""
        if before.threads and before.threads.keys() <= self.threads.keys():
            return sum(value - before.threads.get(key, 0) for key, value in self.threads.items()) / 1e9
        return self.seconds - before.seconds


def usage(pid: int) -> Usage:
    """Read the account of the tree under `pid`."""
    reading = Usage()
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            times = process.cpu_times()
            reading.seconds += sum(times[:4])
            rss = process.memory_info().rss
            reading.rss += rss
            reading.largest = max(reading.largest, rss)
            if not _LINUX:
                continue
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                account = Path(f"/proc/{process.pid}/task/{thread}/schedstat").read_bytes()
                reading.threads[process.pid, int(thread)] = int(account.split()[0])
    return reading


@dataclass(frozen=True)
class Machine:
    """CPU seconds of the whole machine, all cores together."""

    busy: float
    stolen: float


def machine() -> Machine:
    """How long the cores have worked, and how long the host kept them from working."""
    times = psutil.cpu_times()
    stolen = float(getattr(times, "steal", 0.0))
    return Machine(sum(times) - times.idle - getattr(times, "iowait", 0.0) - stolen, stolen)


def own_usage() -> Usage:
    """What this process alone has used."""
    times = psutil.Process().cpu_times()
    return Usage(seconds=times.user + times.system)
