"""The real gateway as a program of its own, in front of a mock provider, on free ports.

Fixtures (in every test module by way of `tests/conftest.py`):

    upstream   a mock provider on a thread of its own, alive for the whole session, forgetful before each test
    gateway    one `loopway serve` for the whole session, configured by `standard(upstream.url)`
    launch     a factory of further gateways for one test: `launch(config)`, `launch(standard(url), workers=3)`

Blocking and asynchronous tests may use all of them:

    def test_it(gateway, upstream):
        client = openai.OpenAI(base_url=gateway.v1, api_key=gateway.api_key)
        client.chat.completions.create(model="@open-ai-key-6317bc/gpt-4o", messages=HELLO)
        assert upstream.last.header("authorization") == "Bearer sk-openai"

Without fixtures: `with Gateway(directory, config) as gateway`, or `async with` in the provider's own loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import pytest
import yaml

from proxy.mock import Mock, Record
from tests.fakes.provider import mode_text
from tests.fakes.watched.sitecustomize import SAYS

ROOT = Path(__file__).resolve().parents[2]

ADMIN_KEY = "lw-admin-of-the-tests-0123456789"
MASTER_KEY = "bG9vcHdheS10ZXN0cy1tYXN0ZXIta2V5LTMyLWJ5dGU="
SEED_KEY = "/turdjWE+tIUeAzmzGxGEkkJLBQ="
"""A key with every awkward character that base64 has."""

OPENAI_SLUG = "open-ai-key-6317bc"
ANTHROPIC_SLUG = "anthropic-key-6317bc"
GOOGLE_SLUG = "google-key-6317bc"
OPENAI_SECRET = "sk-openai"
ANTHROPIC_SECRET = "sk-ant-secret"
GOOGLE_SECRET = "AIza-secret"

WATCHED = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "fakes" / "watched")))}
_FAULTS = (SAYS, "was never retrieved", "was never awaited", "Task was destroyed", "ResourceWarning")
"""What no gateway may have said by its end, whatever a test did to it."""
_STARTED = re.compile(r"listens on (http://[^\s,]+)")
_PATIENCE = 30.0


def virtual_key(slug: str, provider: str, url: str, **more: Any) -> dict[str, Any]:
    """A virtual key of the file whose provider answers at `url` (without `/v1`)."""
    key = {"anthropic": ANTHROPIC_SECRET, "google": GOOGLE_SECRET}.get(provider, OPENAI_SECRET)
    version = "v1beta" if provider == "google" else "v1"
    return {"slug": slug, "provider": provider, "key": key, "custom_host": f"{url}/{version}", **more}


def at(url: str, **mode: object) -> str:
    """The provider's address under which every request has this mode."""
    return f"{url}/__mode/{quote(mode_text(**mode), safe='=,')}"


def standard(url: str) -> dict[str, Any]:
    """The configuration that most tests share, with both providers answering at `url`."""
    return {
        "virtual_keys": [
            virtual_key(OPENAI_SLUG, "openai", url),
            virtual_key(ANTHROPIC_SLUG, "anthropic", url),
            virtual_key(GOOGLE_SLUG, "google", url),
            virtual_key("openai-overloaded", "openai", at(url, status=503)),
            virtual_key("openai-limited", "openai", at(url, status=429, retry_after=0)),
            virtual_key("anthropic-overloaded", "anthropic", at(url, status=529)),
            virtual_key("openai-small", "openai", url, models=["gpt-4o-mini", "text-embedding-*"]),
            virtual_key("openai-defaults", "openai", url, default_model="gpt-4o-mini"),
            virtual_key(
                "anthropic-aliases", "anthropic", url, aliases={"claude-2": "claude-sonnet-4-5"}, models=["claude-*"]
            ),
        ],
        "api_keys": [
            {"name": "seed", "key": SEED_KEY, "scopes": ["inference"]},
            {"name": "seed-placeholder", "key": "PORTKEY_API_KEY", "scopes": ["inference"]},
            {"name": "admin", "key": ADMIN_KEY, "scopes": ["admin"]},
            {"name": "both", "key": "lw-both", "scopes": ["inference", "admin"]},
            {"name": "narrow", "key": "lw-narrow", "virtual_keys": [OPENAI_SLUG]},
            {"name": "models", "key": "lw-models", "models": ["gpt-4o*"]},
            {"name": "configured", "key": "lw-configured", "config": "pc-rescue"},
            {"name": "fixed", "key": "lw-fixed", "config": "pc-rescue", "allow_config_override": False},
        ],
        "configs": [
            {"slug": "pc-openai", "config": {"virtual_key": OPENAI_SLUG}},
            {"slug": "pc-anthropic", "config": {"provider": f"@{ANTHROPIC_SLUG}"}},
            {
                "slug": "pc-rescue",
                "config": {
                    "strategy": {"mode": "fallback", "on_status_codes": [529]},
                    "targets": [
                        {"virtual_key": "anthropic-overloaded", "override_params": {"model": "claude-sonnet-4-5"}},
                        {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o"}},
                    ],
                },
            },
            {
                "slug": "pc-patient",
                "config": {"virtual_key": OPENAI_SLUG, "retry": {"attempts": 2, "use_retry_after_header": True}},
            },
        ],
        "logs": {"level": "info"},
    }


class Gateway:
    """One `loopway serve`, from its start to its end; what it prints goes to `output` in `directory`.

    `config` is the file as plain data, or None for none. `environment` is laid over a clean one.
    """

    admin_key = ADMIN_KEY
    api_key = SEED_KEY

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any] | None = None,
        *,
        workers: int = 1,
        port: int = 0,
        data: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.data = data or directory / "data"
        self.file = directory / "loopway.yaml"
        self.output = directory / "output.txt"
        self.url = ""
        self._config = config
        self._workers = workers
        self._port = port
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        if config is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self.write(config)

    # -- what clients need

    @property
    def v1(self) -> str:
        """The base URL for the SDKs that want `/v1` in it."""
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The process ids of the workers alive now, oldest first."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that it has printed so far, on stdout and stderr."""
        return self.output.read_text(errors="replace")

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A GET on a connection of its own. `headers`, `params` … as httpx has them."""
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A JSON POST on a connection of its own; a `body` of bytes is sent as it stands."""
        return self.request("POST", path, body, **more)

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Any request on a connection of its own, with the key of the seed programs unless headers name another."""
        headers = httpx.Headers(more.pop("headers", {}))
        if not any(name in headers for name in ("x-portkey-api-key", "authorization", "x-api-key")):
            headers["x-portkey-api-key"] = more.pop("key", self.api_key)
        if isinstance(body, bytes):
            more["content"] = body
            headers.setdefault("content-type", "application/json")
        elif body is not None:
            more["json"] = body
        with httpx.Client(timeout=_PATIENCE, trust_env=False) as client:
            return client.request(method, self.url + path, headers=headers, **more)

    def admin(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request with the admin key."""
        return self.request(method, path, body, key=self.admin_key, **more)

    # -- its life

    def write(self, config: dict[str, Any] | str) -> None:
        """Replaces the configuration file, in one step as editors and mounts do it."""
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.file)

    def start(self) -> Self:
        """Starts it, and waits until it is ready and all workers run. Raises AssertionError, with its output, if it
        never is."""
        self.spawn()
        self.until(lambda: _STARTED.search(self.log()), "it prints its address")
        found = _STARTED.search(self.log())
        assert found is not None
        self.url = found[1]
        self.until(self._ready, "it is ready")
        self.until(lambda: len(self.workers()) == self._workers, "all workers run")
        return self

    def spawn(self) -> None:
        """Starts the process without waiting for anything."""
        self.directory.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", "--data", str(self.data), "--port", str(self._port), "--workers", str(self._workers)]
        if self._config is not None:
            arguments += ["--config", str(self.file)]
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy", *arguments],
                cwd=self.directory,
                env=clean_environment() | WATCHED | {"LOOPWAY_MASTER_KEY": MASTER_KEY} | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        """Waits for its end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(_PATIENCE)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it as an operator would. Raises AssertionError unless it exits with 0."""
        if self._process is None:
            return
        self.send(number)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway did not stop:\n{self.log()}") from None
        self._process = None
        log = self.log()
        assert code == 0, f"the gateway exited with {code}:\n{log}"
        assert not [fault for fault in _FAULTS if fault in log], log

    def upgrade(self) -> None:
        """Replaces the program while it runs (SIGUSR2); returns when the old one has ended, with 0, and the new one
        is what `pid`, `stop` and the others mean."""
        old = self._process
        assert old is not None
        adopt_orphans()
        workers = set(self.workers())
        old.send_signal(signal.SIGUSR2)
        fresh = self.until(lambda: set(self.workers()) - workers, "the new program runs")
        (pid,) = fresh
        code = old.wait(_PATIENCE)
        assert code == 0, f"the old program exited with {code}:\n{self.log()}"
        self._process = Adopted(pid)  # type: ignore[assignment]
        self.until(lambda: len(self.workers()) == self._workers, "all its workers run")

    def kill(self) -> None:
        """Ends it at once, with its workers. Does nothing if it has ended."""
        if self._process is None:
            return
        for pid in self.workers() if self._process.poll() is None else ():
            _kill(pid)
        self._process.kill()
        self._process.wait(_PATIENCE)
        self._process = None

    def until(self, condition: Callable[[], Any], what: str, timeout: float = _PATIENCE) -> Any:
        """Waits until `condition` gives something true, and gives that. Raises AssertionError with the output."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the gateway exited before {what}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the gateway took over {timeout} s until {what}:\n{self.log()}")
            time.sleep(0.01)
        return found

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=_PATIENCE, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)


class Adopted:
    """A process that another one started, as much like a `Popen` as the gateway needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        os.kill(self.pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Children of children come to this process when their parents end, instead of to init: their exit codes count."""
    subreaper = 36  # PR_SET_CHILD_SUBREAPER
    ctypes.CDLL(None).prctl(subreaper, 1)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would steer a gateway or an SDK, and with the repository importable."""
    ours = ("LOOPWAY_", "PORTKEY_", "OPENAI_", "ANTHROPIC_", "TRUSTED_CUSTOM_HOSTS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost"}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Upstream:
    """A mock provider on a thread of its own, so that blocking clients and subprocesses can use it too."""

    def __init__(self) -> None:
        self._mock = Mock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listens on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._mock.start(), self._loop).result(_PATIENCE)

    def close(self) -> None:
        """Drops all connections and ends the thread."""
        asyncio.run_coroutine_threadsafe(self._mock.close(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        """The address without a path."""
        return self._mock.url

    @property
    def last(self) -> Record:
        """The latest request."""
        return self.requests()[-1]

    @property
    def stats(self) -> dict[str, Any]:
        """The counters."""
        return self._in_loop(self._mock.ledger.stats)

    def at(self, **mode: object) -> str:
        """A base address under which every request has this mode (append `/v1/…`)."""
        return at(self.url, **mode)

    def requests(self) -> list[Record]:
        """The requests since the last reset, oldest first."""
        return self._in_loop(lambda: self._mock.ledger.last(1000))

    def reset(self) -> None:
        """Forgets what happened so far."""
        self._in_loop(self._mock.ledger.reset)

    def until(self, condition: Callable[[dict[str, Any]], bool], timeout: float = 30) -> dict[str, Any]:
        """Waits until the counters satisfy `condition` and gives them. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition(stats := self.stats):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the provider never came to the expected state: {stats}")
            time.sleep(0.005)
        return stats

    def _in_loop(self, call: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE)


@pytest.fixture(scope="session")
def session_upstream() -> Iterator[Upstream]:
    """The provider of the whole session."""
    running = Upstream()
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="session")
def session_gateway(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of the whole session."""
    directory = tmp_path_factory.mktemp("gateway")
    with Gateway(directory, standard(session_upstream.url)) as running:
        yield running


@pytest.fixture
def upstream(session_upstream: Upstream) -> Upstream:
    """A mock provider that has seen nothing yet."""
    session_upstream.reset()
    return session_upstream


@pytest.fixture
def gateway(session_gateway: Gateway, upstream: Upstream) -> Gateway:
    """The shared gateway in front of `upstream`. Tests must not change what the others rely on."""
    return session_gateway


Launch = Callable[..., Gateway]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts gateways for one test; those still running at its end are stopped, and must exit with 0."""
    started: list[Gateway] = []

    def run(config: dict[str, Any] | None = None, **more: Any) -> Gateway:
        gateway = Gateway(tmp_path / f"gateway-{len(started)}", config, **more)
        started.append(gateway)
        return gateway.__enter__()

    yield run
    failures: list[AssertionError] = []
    for gateway in started:
        try:
            gateway.stop()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
