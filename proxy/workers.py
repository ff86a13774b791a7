"""One event loop a core, each in a process of its own below the supervisor; and the sockets that they share.

What the signals to the main process mean is in `proxy.supervisor`. A worker itself knows three: SIGTERM drains (and
shows at `/readyz` first that it will), SIGUSR2 retires while others go on accepting, SIGQUIT ends at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from proxy.config.file import FileConfig
from proxy.config.hosts import in_url
from proxy.datalock import DataLock
from proxy.errors import LoopwayError, StartupError
from proxy.limits import Memory
from proxy.ports import ApiKeyRow
from proxy.supervisor import RETIRE, Supervisor

_BEAT = 1.0
_FEWEST = 128  # descriptors; a worker has some forty before anybody comes
_DESCRIPTORS = 1 << 20  # the kernel's own bound, unless an administrator changed it
_UNRESPONSIVE = 30
_ENDING = (signal.SIGTERM, signal.SIGQUIT, RETIRE)
_FIRST_FD = 3  # where systemd puts the sockets it hands over
_MEMORY = "/dev/shm"  # noqa: S108 - for the workers' heartbeats, which must never wait for a disk


class Setup:
    """What the supervisor hands to its workers, by fork."""

    def __init__(
        self,
        file: FileConfig,
        path: str | None,
        load: Callable[[], FileConfig],
        data: Path,
        store_url: str,
        bootstrap: tuple[ApiKeyRow, ...],
        memory: Memory | None = None,
        lock: DataLock | None = None,
    ) -> None:
        self.lock = lock
        self.file = file
        self.path = path
        self.load = load
        self.data = data
        self.run = data / "run"
        self.store_url = store_url
        self.bootstrap = bootstrap
        self.memory = memory

    @property
    def workers(self) -> int:
        """How many: as configured, else one for each core that this process may use."""
        return self.file.server.workers or len(os.sched_getaffinity(0))


class Application(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of the gateway. `listeners` are handed over: the one of the gateway, then maybe the metrics'."""

    def __init__(self, setup: Setup, listeners: list[socket.socket]) -> None:
        self.setup = setup
        self._descriptors = [listener.detach() for listener in listeners]
        super().__init__()

    def load_config(self) -> None:
        """Our settings in gunicorn's words."""
        server = self.setup.file.server
        settings: dict[str, Any] = {
            "worker_class": GatewayWorker,
            "workers": self.setup.workers,
            "timeout": _UNRESPONSIVE,
            "graceful_timeout": int(server.drain_delay + server.drain_timeout) + 5,
            "worker_tmp_dir": _MEMORY if os.access(_MEMORY, os.W_OK) else str(self.setup.run),
            "loglevel": "error",
            "proc_name": "loopway",
            "control_socket_disable": True,
            "bind": [f"fd://{descriptor}" for descriptor in self._descriptors],
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """There is no WSGI callable."""

    def run(self) -> None:
        """Supervises until told to stop; exits the process. Raises StartupError."""
        check_parser()
        Supervisor(self).run()


class GatewayWorker(Worker):  # type: ignore[misc]
    """One worker process: a uvloop event loop with a `Gateway` on it."""

    def is_ready(self) -> bool:
        """Asked by the supervisor: whether this worker accepts connections. It says so with a byte in the file of its
        heartbeat."""
        try:
            return os.fstat(self.tmp.fileno()).st_size > 0
        except (OSError, ValueError):
            return False

    def load_wsgi(self) -> None:
        """Nothing to load."""

    def init_signals(self) -> None:
        """Signals are the event loop's, set in `_serve`; until it runs, they end the process as usual."""
        for name in self.SIGNALS:
            signal.signal(name, signal.SIG_DFL)
        # A terminal's interrupt goes to the whole group: the supervisor decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def run(self) -> None:
        """Serves until told to stop."""
        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except LoopwayError as error:
            print(f"loopway: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the operator's one line
            sys.exit(1)

    async def _serve(self) -> None:
        from proxy.app import Gateway
        from proxy.store import open_store
        from proxy.vault import Vault

        setup: Setup = self.app.setup
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[signal.Signals] = loop.create_future()

        def end(how: signal.Signals) -> None:
            if not stop.done():
                stop.set_result(how)

        for number in _ENDING:
            loop.add_signal_handler(number, end, number)
        self.notify()
        vault = Vault.open(setup.data, os.environ)
        store = open_store(setup.store_url, vault)
        gateway = Gateway(setup.file, setup.path, setup.load, store, setup.run, setup.bootstrap, loop, setup.memory)
        listener, *own = [listener.sock for listener in self.sockets]
        await gateway.start([listener], own)
        os.write(self.tmp.fileno(), b"1")
        beating = asyncio.create_task(self._beat(end))
        how = await stop
        server = setup.file.server
        if how is signal.SIGTERM:
            await gateway.warn(server.drain_delay)
        await gateway.stop(0.0 if how is signal.SIGQUIT else server.drain_timeout)
        beating.cancel()

    async def _beat(self, end: Callable[[signal.Signals], None]) -> None:
        """Tells the arbiter that the loop turns. A worker whose arbiter is gone drains and leaves."""
        while True:
            self.notify()
            if os.getppid() != self.ppid:
                end(signal.SIGTERM)
            await asyncio.sleep(_BEAT)


def check_parser() -> None:
    """Raises StartupError unless aiohttp's parser in C is the one in use: the other one is slower by far, and reads
    malformed messages differently."""
    from aiohttp.http import HttpRequestParser

    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise StartupError(
            "aiohttp runs without its parser in C; install a wheel of it that has it, and unset AIOHTTP_NO_EXTENSIONS"
        )


def raise_descriptors() -> None:
    """Takes as many descriptors as the system grants: the soft limit of a login, 1024, is for programs that use
    `select`. Where it cannot be raised it stays. Raises StartupError where even these are too few to serve anybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            logging.getLogger("loopway").warning("no more than %d files may be open", soft)
    if 0 <= wanted < _FEWEST:
        raise StartupError(f"only {wanted} files may be open; allow 65536: ulimit -Hn, or LimitNOFILE= of the unit")


_REMEDIES = {
    errno.EADDRINUSE: "stop what listens there, or choose another --port",
    errno.EADDRNOTAVAIL: "--host takes an address of this machine, or 0.0.0.0 for all of them",
    errno.EACCES: "choose a --port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
}
"""What to do about a socket that cannot listen."""


def listen(host: str, port: int) -> socket.socket:
    """The listening socket that all workers share. Raises StartupError in one clear line."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(4096)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        known = errno.EADDRNOTAVAIL if isinstance(error, socket.gaierror) else error.errno or 0
        remedy = _REMEDIES.get(known, "choose another --host or --port")
        raise StartupError(f"cannot listen on {in_url(host)}:{port}: {reason}; {remedy}") from error
    listener.set_inheritable(True)
    return listener


def inherited() -> list[socket.socket]:
    """The sockets that this process was started with: by systemd (`LISTEN_FDS`), or by the program it takes over from
    (SIGUSR2). What said so is taken out of the environment, so that no child believes it."""
    handed = os.environ.pop("GUNICORN_FD", "")
    if handed:
        return [socket.socket(fileno=int(number)) for number in handed.split(",")]
    count, owner = int(os.environ.pop("LISTEN_FDS", "0")), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count or owner != str(os.getpid()):
        return []
    return [socket.socket(fileno=_FIRST_FD + number) for number in range(count)]


def listeners(host: str, port: int, metrics_port: int | None) -> list[socket.socket]:
    """The gateway's listener and, where metrics have a port of their own, that one. What was inherited is used as it
    is. Raises StartupError."""
    found = inherited()
    if not found:
        found.append(listen(host, port))
    wanted = 1 if metrics_port is None else 2
    while len(found) > wanted or (len(found) == 2 and found[1].getsockname()[1] != metrics_port):
        found.pop().close()
    if metrics_port is not None and len(found) < wanted:
        found.append(listen(host, metrics_port))
    for listener in found:
        listener.set_inheritable(True)
    return found
