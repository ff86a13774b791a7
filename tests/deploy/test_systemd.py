"""The units, judged by systemd's own tools, and a gateway that gets its socket and tells its state as under systemd."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.behaviour.client import connect
from tests.behaviour.rolling import HELLO, MODEL, Load, body, until
from tests.deploy.test_files import DEPLOY, tool
from tests.fakes.gateway import MASTER_KEY, Gateway, Upstream, clean_environment, standard
from tests.fakes.redis_server import free_port

UNITS = DEPLOY / "systemd"
CHAT = {"model": MODEL, "messages": HELLO}
EXPOSURE = 15
"""In tenths; what is not sandboxed at all has 96. What is left is the network, which a gateway needs."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="not every machine has systemd, and no test installs it"
)


def settings(name: str) -> dict[str, list[str]]:
    """What a unit says, by key."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for name in ("loopway.service", "loopway.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/loopway/bin/loopway", "/bin/true"))
    told = tool("systemd-analyze", "verify", tmp_path / "loopway.service", tmp_path / "loopway.socket")
    assert told == ""
    tool("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", tmp_path / "loopway.service")


class Activated(Gateway):
    """A gateway that is started by its first connection, and tells its manager about itself."""

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        config = standard(upstream.url) | {"server": {"drain_idle": "500ms"}, "logs": {"access": False}}
        super().__init__(directory, config, workers=2, port=free_port())
        self.url = f"http://127.0.0.1:{self._port}"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(self.directory / "notify"))
        self._manager.setblocking(False)
        self.told: list[str] = []

    def spawn(self) -> None:
        """As the unit does: the command line of ExecStart, a socket of systemd's, everything else by environment."""
        (line,) = settings("loopway.service")["ExecStart"]
        program, *arguments = line.split()
        assert program == "/opt/loopway/bin/loopway"
        environment = {
            "LOOPWAY_CONFIG": str(self.file),
            "LOOPWAY_DATA": str(self.data),
            "LOOPWAY_MASTER_KEY": MASTER_KEY,
            "LOOPWAY_WORKERS": str(self._workers),
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "PYTHONPATH": clean_environment()["PYTHONPATH"],
        }
        given = [f"--setenv={name}={value}" for name, value in environment.items()]
        command = ["systemd-socket-activate", f"--listen=127.0.0.1:{self._port}", *given]
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "proxy", *arguments],
                cwd=self.directory, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def hears(self, what: str) -> bool:
        """Whether it has told its manager this line."""
        while True:
            try:
                self.told += self._manager.recv(4096).decode().splitlines()
            except BlockingIOError:
                return what in self.told

    def ended(self) -> int | None:
        """Its exit code, if it has ended."""
        assert self._process is not None
        return self._process.poll()

    def close(self) -> None:
        """Ends everything."""
        if self.runs():
            self.kill()
        self._manager.close()


def stop(pid: int) -> None:
    """What the unit does to end a main process."""
    for command in settings("loopway.service")["ExecStop"]:
        words = [re.sub(r"\$MAINPID|\$\{MAINPID\}", str(pid), word) for word in command.removeprefix("-").split()]
        subprocess.run(words, check=True)


@pytest.fixture
def activated(tmp_path: Path, upstream: Upstream) -> Iterator[Activated]:
    gateway = Activated(tmp_path / "gateway", upstream)
    try:
        yield gateway
    finally:
        gateway.close()


async def test_the_first_request_starts_it_an_upgrade_costs_none_and_its_end_waits_for_streams(
    activated: Activated,
) -> None:
    assert settings("loopway.service")["Type"] == ["notify"]
    activated.spawn()
    await until(lambda: "Listening on" in activated.log(), "the socket is there")
    assert activated.workers() == []
    first = await asyncio.to_thread(activated.post, "/v1/chat/completions", CHAT)
    assert first.status_code == 200, first.text
    await until(lambda: activated.hears("READY=1"), "it says that it is ready")
    assert activated.hears(f"MAINPID={activated.pid}")

    load = Load(activated.port, 40, 6, gap=50, chunks=10)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0.3)
    before = activated.pid
    await asyncio.to_thread(activated.upgrade)
    assert activated.pid != before
    await until(lambda: activated.hears(f"MAINPID={activated.pid}"), "systemd is told whom to look after")
    (reload,) = settings("loopway.service")["ExecReload"]
    assert reload == "/bin/kill -HUP $MAINPID"
    workers = set(activated.workers())
    os.kill(activated.pid, signal.SIGHUP)
    await until(lambda: len(set(activated.workers()) - workers) == 2, "a new generation serves")
    load.stop()
    await running
    assert load.report()["failures"] == {}

    # systemd kills a main process that is not its own child as soon as ExecStop is done, so that must not be early.
    line = await connect(activated.port)
    line.send(body(True, gap=100, chunks=8))
    assert (await line.head())[0] == 200
    stopping = asyncio.create_task(asyncio.to_thread(stop, activated.pid))
    await until(lambda: b"data: [DONE]" in line.data or line.over, "the stream ends")
    assert b"data: [DONE]" in line.data
    assert not stopping.done()
    # systemd buries it; here that is this test's to do.
    await until(lambda: not activated.runs(), "the gateway has ended")
    await stopping
    assert activated.ended() == 0
    line.leave()
    with pytest.raises(httpx.TransportError):
        activated.get("/readyz")
