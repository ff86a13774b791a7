"""`loopway serve` and `loopway demo`: from flags, environment and file to a running supervisor."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import time
from types import FrameType

import click
import msgspec

from proxy.cli import environment
from proxy.config.file import FileConfig, load
from proxy.config.hosts import in_url
from proxy.datalock import DataLock
from proxy.errors import StartupError
from proxy.ports import ApiKeyRow, Secret, VirtualKeyRow
from proxy.prices import vendored
from proxy.store import migrate, open_store
from proxy.vault import Vault

_ENDING = (signal.SIGTERM, signal.SIGINT)
_DEMO_TOKEN = "lw-demo-key"  # noqa: S105 - printed for everyone to try, for a provider that only echoes


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), envvar="LOOPWAY_CONFIG", help="Configuration file (YAML).")
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory for state.")
@click.option("--host", envvar="LOOPWAY_HOST", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", envvar="LOOPWAY_PORT", type=click.IntRange(0, 65535), help="Port.  [default: 8787]")
@click.option("--workers", envvar="LOOPWAY_WORKERS", type=click.IntRange(1, 512), help="Processes.  [default: cores]")
def serve(config: str | None, data: str, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the gateway.

    Example: loopway serve --config loopway.yaml --port 8787
    """
    read = reader(config, host, port, workers)
    run(read(), config, read, Path(data))


@click.command()
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory for state.")
@click.option("--host", envvar="LOOPWAY_HOST", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", envvar="LOOPWAY_PORT", type=click.IntRange(0, 65535), help="Port.  [default: 8787]")
@click.option("--workers", envvar="LOOPWAY_WORKERS", type=click.IntRange(1, 512), help="Processes.  [default: cores]")
def demo(data: str, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the gateway with a provider of its own, to try it without any account.

    Example: loopway demo
    """
    provider = _start_provider()
    read = reader(None, host, port, workers)

    def with_demo() -> FileConfig:
        file = read()
        digest = hashlib.sha256(_DEMO_TOKEN.encode()).hexdigest()
        key = ApiKeyRow(id="demo", name="demo", digest=digest, origin="file", created_at=int(time()))
        demo_keys = tuple(
            VirtualKeyRow(
                slug=f"demo-{name}",
                name=f"demo-{name}",
                provider=name,
                key=Secret("demo"),
                custom_host=f"http://127.0.0.1:{provider}/v1",
                origin="file",
            )
            for name in ("openai", "anthropic")
        )
        return msgspec.structs.replace(
            file, api_keys=(key, *file.api_keys), virtual_keys=(*demo_keys, *file.virtual_keys)
        )

    run(with_demo(), None, with_demo, Path(data), banner=_demo_banner)


def reader(config: str | None, host: str | None, port: int | None, workers: int | None) -> Callable[[], FileConfig]:
    """Reads the file and lays flags and environment over it."""

    def read() -> FileConfig:
        file = environment.over(FileConfig() if config is None else load(Path(config), os.environ), os.environ)
        changes: dict[str, object] = {
            name: value for name, value in (("host", host), ("port", port), ("workers", workers)) if value is not None
        }
        return msgspec.structs.replace(file, server=msgspec.structs.replace(file.server, **changes))

    return read


def run(
    file: FileConfig,
    path: str | None,
    reader: Callable[[], FileConfig],
    data: Path,
    banner: Callable[[str], str] | None = None,
) -> None:
    """Prepares the store, binds, and supervises until told to stop. Raises LoopwayError."""
    import proxy.app  # noqa: F401 - loaded before the fork: workers share its memory, and a new one serves at once
    from proxy.limits import supervisor_memory
    from proxy.workers import Application, Setup, listeners, raise_descriptors

    for number in _ENDING:
        signal.signal(number, _leave)  # until the supervisor takes over
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    vendored()  # likewise
    raise_descriptors()
    if file.telemetry.otlp is not None and not _has_telemetry():
        raise StartupError("telemetry.otlp needs OpenTelemetry's SDK; install the extra: pip install 'loopway[otel]'")
    _log_to_stderr(file.logs.level)
    for warning in file.warnings:
        logging.getLogger("loopway").warning("%s", warning)
    lock = _prepare(data)
    url = environment.store_of(file, data)
    if file.redis.url is not None:
        from proxy.redis_link import check_url  # eight megabytes, for those who have one

        check_url(file.redis.url.reveal(), "redis.url")
    migrate(url)
    bootstrap = _bootstrap(url, data, file)
    setup = Setup(file, path, reader, data, url, bootstrap, lock=lock)
    server = file.server
    bound = listeners(server.host, server.port, file.telemetry.metrics_port if file.telemetry.metrics else None)
    address = f"http://{in_url(server.host)}:{bound[0].getsockname()[1]}"
    click.echo(banner(address) if banner else f"Loopway listens on {address} with {setup.workers} worker(s).")
    sys.stdout.flush()
    setup.memory = supervisor_memory(setup.workers, data / "budgets")
    try:
        Application(setup, bound).run()
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # told once more while the interpreter ends, which has no handlers


def _leave(number: int, frame: FrameType | None) -> None:
    """Told to stop before anything was served: nothing to drain."""
    raise SystemExit(0)


def _has_telemetry() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _prepare(data: Path) -> DataLock:
    """Makes the data directory if it is missing, and takes it. Raises StartupError if another gateway has it, or if
    this user cannot write there, which is how containers fail whose volume belongs to somebody else."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DataLock(data)
        if os.environ.get("GUNICORN_PID") != str(os.getppid()):  # else the supervisor does, when that one lets go of it
            lock.claim()
        _clear(data / "run")
    except OSError as error:
        raise StartupError(
            f"cannot write to the data directory {data}: {error.strerror}; give it to user {os.geteuid()},"
            " or name another one with --data or LOOPWAY_DATA"
        ) from error
    return lock


def _clear(run: Path) -> None:
    """Makes the directory that workers share, and takes out what a gateway before left there; but not while that one
    still runs and hands over to this one (SIGUSR2)."""
    run.mkdir(mode=0o700, exist_ok=True)
    if "GUNICORN_PID" not in os.environ:
        for stale in (*run.glob("metrics-*.json"), run / "log-level"):
            stale.unlink(missing_ok=True)


@contextmanager
def _not_to_be_ended() -> Iterator[None]:
    """Who tells this process to stop is heard when it is over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _bootstrap(url: str, data: Path, file: FileConfig) -> tuple[ApiKeyRow, ...]:
    """The admin key: from the environment, or made by the first start, told, and kept as a hash.

    Opening the store here also proves that the master key fits it, before anything listens.
    """
    vault = Vault.open(data, os.environ)
    store = open_store(url, vault)

    async def first() -> None:
        try:
            if os.environ.get("LOOPWAY_ADMIN_KEY") or any("admin" in key.scopes for key in file.api_keys):
                return
            if any("admin" in key.scopes for key in (await store.rows()).api_keys):
                return
            made = f"lw-{secrets.token_urlsafe(32)}"
            row = ApiKeyRow(id="admin", name="admin", digest=_digest(made), scopes=("admin",), created_at=int(time()))
            # Said as soon as it is stored: whatever fails now, nothing could show it again.
            with _not_to_be_ended():
                await store.insert_api_key(row)
                click.echo(f"The first start made an admin key. It is shown once:\n\n    {made}\n")
                sys.stdout.flush()
        finally:
            await store.close()

    asyncio.run(first())
    token = os.environ.get("LOOPWAY_ADMIN_KEY")
    if not token:
        return ()
    if len(token) < 16:
        raise StartupError("LOOPWAY_ADMIN_KEY is shorter than 16 characters; make a longer one")
    row = ApiKeyRow(id="bootstrap", name="LOOPWAY_ADMIN_KEY", digest=_digest(token), scopes=("admin",), origin="file")
    return (row,)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("loopway")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _start_provider() -> int:
    """Runs the demo provider in a process of its own, which ends with this one; returns its port."""
    import ctypes

    from proxy.workers import listen

    probe = listen("127.0.0.1", 0)
    port = int(probe.getsockname()[1])
    probe.close()
    parent = os.getpid()
    if os.fork() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no demo provider outlives its gateway
        if os.getppid() != parent:
            os._exit(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from proxy.mock import run as run_mock

        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        run_mock("127.0.0.1", port)
        os._exit(0)
    return port


def _demo_banner(address: str) -> str:
    return f"""Loopway listens on {address}, with a demo provider behind it that needs no account.

Try it:

    curl {address}/v1/chat/completions -H 'content-type: application/json' \\
      -H 'x-portkey-api-key: {_DEMO_TOKEN}' \\
      -d '{{"model": "@demo-openai/gpt-4o-mini", "messages": [{{"role": "user", "content": "Say this is a test"}}]}}'

Or with the OpenAI SDK (pip install openai):

    from openai import OpenAI

    client = OpenAI(base_url="{address}/v1", api_key="{_DEMO_TOKEN}")
    for model in ("@demo-openai/gpt-4o-mini", "@demo-anthropic/claude-sonnet-4-5"):
        messages = [{{"role": "user", "content": "Say this is a test"}}]
        answer = client.chat.completions.create(model=model, messages=messages)
        print(answer.choices[0].message.content)
"""
