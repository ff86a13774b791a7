"""A PostgreSQL server of the tests' own: in a temporary directory, on a free port, gone with whoever started it."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

_FAST = "fsync = off\nfull_page_writes = off\nshared_buffers = 32MB\nmax_connections = 200\nautovacuum = off\n"


class Postgres:
    """One server. `database()` makes a new database and gives its URL. `settings` are lines of its configuration beside
    PostgreSQL's own defaults; without any it forgets on a crash what tests do not ask it to keep, and is quick."""

    def __init__(self, settings: str = _FAST) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="loopway-postgres-"))
        self._made = 0
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            # The server refuses to run as root.
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "loopway", "-A", "trust", "-E", "UTF8", "--no-sync")
        with open(self._data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"{settings}port = {self.port}\nlisten_addresses = '127.0.0.1'\n")
            file.write(f"unix_socket_directories = '{self._folder}'\n")
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Starts the server, for the first time or again, and waits until it answers."""
        self._process = subprocess.Popen(
            [*_as_postgres(), _binary("postgres"), "-D", str(self._data)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        ends = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server: SIGINT ends every connection, SIGQUIT is a crash."""
        assert self._process is not None
        os.kill(self._postmaster(), how)
        self._process.wait(30)

    def freeze(self, frozen: bool) -> None:
        """Stops all of its processes from running without ending them, as a machine that hangs; or lets them go on."""
        what = signal.SIGSTOP if frozen else signal.SIGCONT
        main = self._postmaster()
        children = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split()
        for pid in (main, *map(int, children)):
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass

    def _postmaster(self) -> int:
        return int((self._data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://loopway:hunter2@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Makes a database and gives its URL."""
        self._made += 1
        name = f"test_{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    def close(self) -> None:
        """Stops the server and removes everything."""
        if self._process is not None and self._process.poll() is None:
            self.freeze(False)
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        command = [*_as_postgres(), _binary(name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder)
        assert done.returncode == 0, done.stderr


def _as_postgres() -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []


def _binary(name: str) -> str:
    for candidate in (shutil.which(name), *sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)):
        if candidate:
            return candidate
    raise AssertionError(f"the tests need PostgreSQL's {name}: sh tests/services.sh installs it")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of a process."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty database of its own."""
    return postgres.database()
