"""The supervisor: gunicorn's arbiter, with generations of workers that take over from one another without a gap.

It owns the listening sockets and never closes them while anything is left to take their connections. A new generation
(SIGHUP) or a new program (SIGUSR2) first starts all its workers; only when each of them accepts are the old ones told
to retire. Whatever does not come up leaves the old ones serving.

    SIGTERM, SIGINT   readiness goes, then the listener, then what is in flight gets its time; exit 0
    SIGQUIT           the same without patience
    SIGHUP            reads the configuration afresh; a new generation takes over
    SIGUSR2           runs the program afresh on the same sockets; it takes over and sends the old one away
    SIGWINCH          what the new program sends: end, while somebody else goes on accepting
    SIGUSR1           debug logging on, or off again, in all workers
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from gunicorn import sock, systemd
from gunicorn.arbiter import Arbiter

from proxy import loglevel
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from proxy.workers import Application, Setup

_log = logging.getLogger("loopway")
_HELD_BACK = (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR2)
_TICK = 0.05  # seconds between two looks at who is ready, while a generation takes over
RETIRE = signal.SIGUSR2
"""What a worker is told when others go on accepting in its stead."""


class Backoff:
    """When a dead worker may be replaced. At once, as a rule; 1, 2, 4 … 30 seconds later where workers die before they
    are ready, or many die within a minute: a loop of crashes must not eat the machine."""

    _LONGEST = 30.0
    _WINDOW = 60.0
    _MANY = 20

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=self._MANY)
        self._stillborn = 0
        self._not_before = 0.0

    def lived(self) -> None:
        """A worker became ready."""
        self._stillborn = 0

    def died(self, now: float, *, ready: bool) -> float:
        """A worker died that nobody told to. `now` is the monotonic clock. Gives how many seconds to wait."""
        self._deaths.append(now)
        self._stillborn = 0 if ready else self._stillborn + 1
        crowded = len(self._deaths) == self._MANY and now - self._deaths[0] < self._WINDOW
        strikes = self._stillborn or (1 if crowded else 0)
        delay = min(self._LONGEST, 2.0 ** (strikes - 1)) if strikes else 0.0
        self._not_before = max(self._not_before, now + delay)
        return delay

    def allows(self, now: float) -> bool:
        """Whether a worker may be started now."""
        return now >= self._not_before


class Supervisor(Arbiter):  # type: ignore[misc]
    """gunicorn's arbiter; see the module for what its signals mean."""

    app: Application

    def __init__(self, app: Application) -> None:
        super().__init__(app)
        self.LISTENERS = sock.create_sockets(self.cfg, self.log)
        # `python -m` is not repeated by sys.argv, and a program that upgrades must start the way it was started.
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
        self._backoff = Backoff()
        self._ready: set[int] = set()
        self._retiring: dict[int, float] = {}
        self._crowded = False
        self._announced = False
        self._ending = signal.SIGTERM

    # -- the arbiter's life

    def start(self) -> None:
        """As gunicorn's, but systemd hears of readiness only when there is any."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        super().start()
        if address is not None:
            os.environ["NOTIFY_SOCKET"] = address

    def stop(self, graceful: bool = True) -> None:
        """As gunicorn's; whoever comes next need not wait until the last request here has ended."""
        setup: Setup = self.app.setup
        if setup.lock is not None:
            setup.lock.release()
        super().stop(graceful)

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Looks around more often while workers are on their way."""
        waiting = self._retiring or len(self._ready) < self.num_workers
        found: list[int] = super().wait_for_signals(_TICK if waiting else timeout)
        return found

    def spawn_worker(self) -> int | None:
        """Forks with the signals held back that a worker has handlers of its own for: one that came before those
        would be taken by the supervisor's, which mean nothing there, and the end would wait for that worker."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            pid: int | None = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        return pid

    def spawn_workers(self) -> None:
        """Brings the generation to its number, one straight after the other, unless workers crash as they start, or
        there are so many that the next one must wait until another has ended."""
        for _ in range(self.num_workers - len(self._serving())):
            if not self._backoff.allows(time.monotonic()):
                return
            if len(self.WORKERS) >= self._places:
                if not self._crowded:
                    self._crowded = True
                    _log.warning("%d workers serve or still end; further ones start as those have", len(self.WORKERS))
                return
            self.spawn_worker()
        self._crowded = False

    @property
    def _places(self) -> int:
        """How many workers can be at a time: so many have room in the memory in which they count limits together."""
        memory = self.app.setup.memory
        return sys.maxsize if memory is None else memory.slots

    def manage_workers(self) -> None:
        """Replaces who is gone, lets a new generation take over once all of it accepts, and ends who overstays."""
        setup: Setup = self.app.setup
        loglevel.follow(setup.run, setup.file.logs.level)
        if setup.lock is not None:
            setup.lock.take()
        self._see_who_is_ready()
        serving = self._serving()
        if len(serving) < self.num_workers:
            self.spawn_workers()
        elif len(serving) > self.num_workers:
            for pid in serving[: len(serving) - self.num_workers]:
                self._retiring[pid] = 0.0
        if len(self._ready.intersection(self._serving())) >= self.num_workers:
            self._hand_over()
        now = time.monotonic()
        for pid, since in list(self._retiring.items()):
            if since and now - since > self.cfg.graceful_timeout:
                self._retiring[pid] = now
                self.kill_worker(pid, signal.SIGKILL)

    def reap_workers(self) -> None:
        """Buries the dead; those that were not told to go count for the backoff."""
        before, upgrade = set(self.WORKERS), self.reexec_pid
        super().reap_workers()
        if upgrade and not self.reexec_pid and self._ending is not RETIRE:
            _log.error("the new program (%d) has ended without taking over; this one goes on", upgrade)
        for pid in before - self.WORKERS.keys():
            if self._retiring.pop(pid, None) is None:
                delay = self._backoff.died(time.monotonic(), ready=pid in self._ready)
                if delay:
                    _log.error("workers die one after the other; the next one is started in %d s", delay)
            self._ready.discard(pid)

    def _serving(self) -> list[int]:
        """The workers of the newest generation, oldest first."""
        return sorted(self.WORKERS.keys() - self._retiring.keys(), key=lambda pid: self.WORKERS[pid].age)

    def _see_who_is_ready(self) -> None:
        for pid, worker in self.WORKERS.items():
            if pid not in self._ready and worker.is_ready():
                self._ready.add(pid)
                self._backoff.lived()

    def _hand_over(self) -> None:
        """The whole generation accepts: whoever was here before may go."""
        now = time.monotonic()
        replaced = [pid for pid, since in self._retiring.items() if not since]
        for pid in replaced:
            self._retiring[pid] = now
            self.kill_worker(pid, RETIRE)
        if replaced and self._announced:
            _log.info("new workers serve; %d old ones end when their requests have", len(replaced))
        if self._announced:
            return
        self._announced = True
        systemd.sd_notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Serving", self.log)
        if self.master_pid and self.master_pid == os.getppid():
            _log.warning("the new program serves; the old one (%d) is told to end", self.master_pid)
            os.kill(self.master_pid, signal.SIGWINCH)

    # -- signals

    def handle_int(self) -> None:
        """A terminal's interrupt drains as a termination does."""
        self.handle_term()

    def handle_winch(self) -> None:
        """A new program accepts on our sockets; we end."""
        if self.reexec_pid:
            self._ending = RETIRE
            raise StopIteration

    def handle_hup(self) -> None:
        """Reads the configuration afresh; only one that can be used replaces the workers."""
        setup: Setup = self.app.setup
        before = setup.file
        try:
            setup.file = setup.load()
        except ConfigError as error:
            _log.error("the configuration file cannot be used; the workers stay as they are:\n%s", error)
            return
        # While a whole generation waits to be replaced, the one that came for that is not needed any more.
        needed = {pid for pid, since in self._retiring.items() if not since and pid in self._ready}
        if len(needed) < self.num_workers:
            needed.update(self._serving())
        if setup.workers + len(needed) > self._places:
            _log.error(
                "%d workers cannot start beside the %d that serve, %d at a time is the most: the workers stay as they "
                "are; for so many stop the gateway and start it again",
                *(setup.workers, len(needed), self._places),
            )
            setup.file = before
            return
        self.app.reload()
        self.setup(self.app)
        now = time.monotonic()
        for pid in self._serving():
            self._retiring[pid] = 0.0 if pid in needed else now
            if pid not in needed:
                self.kill_worker(pid, RETIRE)
        self.manage_workers()

    def handle_usr2(self) -> None:
        """Runs the program afresh, unless the last time is not over yet."""
        self.maybe_promote_master()
        if self.reexec_pid or self.master_pid:
            _log.warning("an upgrade is under way; another one can begin when the old program has ended")
            return
        super().handle_usr2()

    def reexec(self) -> None:
        """As gunicorn's; but a fork in which the program cannot be run must not go on as a second supervisor, which
        would end the workers of the first."""
        supervisor = os.getpid()
        try:
            super().reexec()
        except OSError as error:
            _log.error("the new program cannot be run: %s", error)
            if os.getpid() != supervisor:
                os._exit(1)

    def handle_usr1(self) -> None:
        """Debug logging on or off; workers follow what the file in the run directory says."""
        setup: Setup = self.app.setup
        loglevel.toggle(setup.run, setup.file.logs.level)

    def kill_worker(self, pid: int, number: int) -> None:
        """As gunicorn's; a graceful end during an upgrade tells workers that others go on accepting."""
        super().kill_worker(pid, self._ending if number == signal.SIGTERM else number)
