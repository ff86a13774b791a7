"""One event loop a core, under gunicorn's arbiter: it owns the listening socket, replaces workers that die, and knows
the signals. What runs in a worker is ours.

SIGTERM and SIGINT drain and exit 0, SIGQUIT stops at once, SIGHUP reads the configuration afresh and replaces the
workers by a new generation; a configuration that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from proxy.config.file import FileConfig
from proxy.errors import ConfigError, LoopwayError, StartupError
from proxy.ports import ApiKeyRow

_log = logging.getLogger("loopway")
_BEAT = 1.0
_UNRESPONSIVE = 30
_ENDING = (signal.SIGTERM, signal.SIGQUIT)


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
    ) -> None:
        self.file = file
        self.path = path
        self.load = load
        self.data = data
        self.store_url = store_url
        self.bootstrap = bootstrap


class Supervisor(Arbiter):  # type: ignore[misc]
    """gunicorn's arbiter; an interrupt drains as a termination does."""

    handle_int = Arbiter.handle_term

    def spawn_worker(self) -> int | None:
        """Forks with the ending signals held back: one that reached a worker before it has handlers of its own would
        be taken by the supervisor's, which mean nothing there, and the end would wait for that worker."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            pid: int | None = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        return pid

    def handle_hup(self) -> None:
        """Reads the configuration afresh; only one that can be used replaces the workers."""
        setup: Setup = self.app.setup
        try:
            setup.file = setup.load()
        except ConfigError as error:
            _log.error("the configuration file cannot be used; the workers stay as they are:\n%s", error)
            return
        self.reload()


class Application(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of the gateway."""

    def __init__(self, setup: Setup, listener: socket.socket | None, workers: int) -> None:
        self.setup = setup
        self._listener = listener
        self._workers = workers
        super().__init__()

    def load_config(self) -> None:
        """Our settings in gunicorn's words."""
        drain = self.setup.file.server.drain_timeout
        settings: dict[str, Any] = {
            "worker_class": GatewayWorker,
            "workers": self._workers,
            "timeout": _UNRESPONSIVE,
            "graceful_timeout": int(drain) + 5,
            "loglevel": "error",
            "proc_name": "loopway",
            "control_socket_disable": True,
        }
        if self._listener is not None:
            settings["bind"] = f"fd://{self._listener.fileno()}"
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
        stop: asyncio.Future[bool] = loop.create_future()

        def end(graceful: bool) -> None:
            if not stop.done():
                stop.set_result(graceful)

        loop.add_signal_handler(signal.SIGTERM, end, True)
        loop.add_signal_handler(signal.SIGQUIT, end, False)
        vault = Vault.open(setup.data, os.environ)
        store = open_store(setup.store_url, vault)
        gateway = Gateway(setup.file, setup.path, setup.load, store, setup.data / "run", setup.bootstrap, loop)
        await gateway.start([listener.sock for listener in self.sockets])
        beating = asyncio.create_task(self._beat(end))
        graceful = await stop
        await gateway.stop(setup.file.server.drain_timeout if graceful else 0.0)
        beating.cancel()

    async def _beat(self, end: Callable[[bool], None]) -> None:
        """Tells the arbiter that the loop turns. A worker whose arbiter is gone drains and leaves."""
        while True:
            self.notify()
            if os.getppid() != self.ppid:
                end(True)
            await asyncio.sleep(_BEAT)


def check_parser() -> None:
    """Raises StartupError unless aiohttp's parser in C is the one in use: the other one is slower by far, and reads
    malformed messages differently."""
    from aiohttp.http import HttpRequestParser

    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise StartupError(
            "aiohttp runs without its parser in C; install a wheel of it that has it, and unset AIOHTTP_NO_EXTENSIONS"
        )


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
        raise StartupError(
            f"cannot listen on {host}:{port}: {reason}; stop what listens there, or choose another --port"
        ) from error
    listener.set_inheritable(True)
    return listener
