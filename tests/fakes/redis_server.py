"""A real redis-server of a test's own: on a free port, without persistence unless asked, and easy to hurt.

with RedisServer(tmp_path) as redis:
    redis.pause()      # SIGSTOP: connections stay, nothing is answered
    redis.resume()
    redis.kill()       # gone, with everything it knew
    redis.start()
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis


class RedisServer:
    """The process. `password` and `options` (`--name value`) are given to it as they are."""

    def __init__(self, directory: Path, *options: str, password: str | None = None) -> None:
        self.directory = directory
        self.password = password
        self.options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for clients."""
        credential = f":{self.password}@" if self.password else ""
        return f"redis://{credential}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it and waits until it answers. On the same port as before, if it was killed."""
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed; tests/services.sh does that"
        words = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        words += ["--appendonly", "no", *self.options]
        if self.password:
            words += ["--requirepass", self.password]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + 30
        while True:
            try:
                self.client().ping()
                return
            except redis.exceptions.RedisError:
                assert time.monotonic() < ends, "redis-server does not answer"
                time.sleep(0.01)

    def client(self) -> redis.Redis:
        """A plain client, to look with."""
        return redis.Redis.from_url(self.url)

    def pause(self) -> None:
        """It says nothing any more, and nobody can tell."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, and so is all it knew."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
