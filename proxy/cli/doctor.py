"""`loopway doctor`: what is wrong with a gateway's surroundings, and how to mend it.

It looks at the configuration, the store, Redis, the clock, descriptors, and the way to each provider: name, TCP and
TLS, and no further. Nothing is sent to a provider, so nothing is paid for. It may run beside a gateway that serves.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, time

import click
import msgspec

from proxy.address import AddressPolicy
from proxy.cli.check import uncompilable
from proxy.cli.environment import store_of
from proxy.cli.serve import reader
from proxy.config import hosts
from proxy.config.file import FileConfig
from proxy.config.snapshot import Snapshot
from proxy.config.target import Target
from proxy.errors import ConfigError, EmptyStoreError, LoopwayError, StartupError, StoreError
from proxy.limits import Limiters
from proxy.ports import Rows
from proxy.redis_link import RedisDown, RedisLink
from proxy.store import open_store
from proxy.store.location import is_postgres, label, sqlite_path
from proxy.vault import Vault

_PATIENCE = 5.0
_SLOW = 1.0
_SKEW = 5.0  # seconds that two clocks may differ
_FDS = 4096
_FREE = 512 * 2**20
_DIALS = 20  # providers looked at side by side
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red")}


class Finding(msgspec.Struct, frozen=True):
    """One check: `state` is ok, warn or bad; `mend` says what to do about it."""

    what: str
    state: str
    said: str
    mend: str = ""


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), envvar="LOOPWAY_CONFIG", help="Configuration file (YAML).")
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory for state.")
@click.option("--no-upstreams", is_flag=True, help="Do not connect to providers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(config: str | None, data: str, no_upstreams: bool, as_json: bool) -> None:
    """Check configuration, store, Redis, names, clock, descriptors and the way to every provider.

    Nothing is sent to a provider. The exit code is 1 if anything is wrong; what is only doubtful is a warning.

    Example: loopway doctor --config loopway.yaml
    """
    findings: list[Finding] = []

    def tell(found: Finding) -> None:
        findings.append(found)
        click.echo(msgspec.json.encode(found).decode() if as_json else _line(found))

    examine(config, Path(data), tell, upstreams=not no_upstreams)
    bad = sum(found.state == "bad" for found in findings)
    if not as_json:
        doubtful = sum(found.state == "warn" for found in findings)
        click.echo(f"{len(findings)} checks, {bad} bad, {doubtful} doubtful")
    sys.exit(1 if bad else 0)


def _line(found: Finding) -> str:
    mark, colour = _MARKS[found.state]
    line = f"{click.style(mark, fg=colour, bold=True)} {found.what:<28} {found.said}"
    return f"{line}\n{'':<31}→ {found.mend}" if found.mend else line


Tell = Callable[[Finding], None]


def examine(config: str | None, data: Path, tell: Tell, *, upstreams: bool = True) -> None:
    """Runs all checks, in the order in which they build on one another."""
    file = _configuration(config, tell)
    for found in (*machine(), *_data(data)):
        tell(found)
    if file is None:
        return
    rows = asyncio.run(_around(file, data, tell))
    if upstreams:
        asyncio.run(_upstreams(file, rows, tell))


def _configuration(config: str | None, tell: Tell) -> FileConfig | None:
    what = "configuration"
    try:
        file = reader(config, None, None, None)()
    except ConfigError as error:
        for finding in error.findings:
            tell(Finding(what, "bad", finding, "mend that line; a running gateway keeps what it has until then"))
        return None
    except (LoopwayError, OSError) as error:
        tell(Finding(what, "bad", str(error), "--config names the file"))
        return None
    for (_, name), problem in uncompilable(file):
        tell(Finding(f"{what}: {name}", "bad", problem, "loopway check says where"))
    for warning in file.warnings:
        tell(Finding(what, "warn", warning, "set the variable, or take the entry out"))
    tell(Finding(what, "ok", config or "none: defaults and the store"))
    return file


def machine() -> Iterator[Finding]:
    """Descriptors and the clock's sanity."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # which the gateway takes when it starts
    if 0 <= hard < _FDS:  # RLIM_INFINITY is -1
        enough = "two for each request in flight"
        yield Finding("descriptors", "warn", f"{hard} may be open ({enough})", "LimitNOFILE=65536, or ulimit -Hn 65536")
    else:
        yield Finding("descriptors", "ok", f"{'any number' if hard < 0 else hard} may be open")
    if time() < 1_750_000_000:
        yield Finding("clock", "bad", "it is set to a time before 2025: certificates will look invalid", "start NTP")


def _data(data: Path) -> Iterator[Finding]:
    what = "data directory"
    if not data.exists():
        above = next(path for path in data.resolve().parents if path.exists())
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            why = f"{data} is not there, and this user cannot make it in {above}"
            yield Finding(what, "bad", why, f"give {above} to user {os.getuid()}, or name another with --data")
            return
        yield Finding(what, "warn", f"{data} is not there yet", "the first start makes it; --data says where")
        return
    if not os.access(data, os.W_OK):
        yield Finding(what, "bad", f"{data} cannot be written by this user", f"chown it to user {os.getuid()}")
        return
    found = os.statvfs(data)
    free = found.f_bavail * found.f_frsize
    if free < _FREE:
        yield Finding(what, "bad" if free < _FREE / 8 else "warn", f"{free // 2**20} MiB are free", "make room")
    else:
        yield Finding(what, "ok", f"{data}, {free // 2**30} GiB free")


# Store and Redis


async def _around(file: FileConfig, data: Path, tell: Tell) -> Rows:
    rows = await _store(file, data, tell)
    if file.redis.url is None:
        tell(Finding("redis", "ok", "none: limits hold for this host alone"))
    else:
        await _redis(file.redis.url.reveal(), tell)
    return rows


async def _store(file: FileConfig, data: Path, tell: Tell) -> Rows:
    url = store_of(file, data)
    if not is_postgres(url) and not sqlite_path(url).exists():
        tell(Finding("store", "warn", f"{sqlite_path(url)} is not there yet", "the first start makes it"))
        return Rows()
    try:
        vault = Vault.open(data, os.environ)
        began = monotonic()
        store = await asyncio.to_thread(open_store, url, vault)
        try:
            rows = await store.rows()
            took = monotonic() - began
            state = "warn" if took > _SLOW else "ok"
            counts = f"{len(rows.virtual_keys)} virtual keys, {len(rows.api_keys)} API keys"
            tell(Finding("store", state, f"answers in {took * 1000:.0f} ms; {counts}"))
            if is_postgres(url):
                moment = await store.run("reports", lambda connection: float(
                    connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now").fetchone()["now"]
                ))  # fmt: skip
                tell(_skew("PostgreSQL's", moment))
            return rows
        finally:
            await store.close()
    except StartupError as error:
        tell(Finding("store", "bad", str(error), "LOOPWAY_MASTER_KEY must be the one that the store was made with"))
    except EmptyStoreError:
        tell(Finding("store", "warn", f"{label(url)} is there, and empty yet", "the first start makes its tables"))
    except StoreError as error:
        tell(Finding("store", "bad", str(error), "is the server up, the URL right, the user allowed?"))
    return Rows()


async def _redis(url: str, tell: Tell) -> None:
    try:
        link = RedisLink(url, timeout=_PATIENCE)
    except StartupError as error:
        tell(Finding("redis", "bad", str(error), "LOOPWAY_REDIS_URL or redis.url"))
        return
    try:
        began = monotonic()
        seconds, micro = await link.call("TIME")
        took = monotonic() - began
        state = "warn" if took > 0.02 else "ok"
        mend = "it must be near: a command gets 25 ms, and a request waits for it" if state == "warn" else ""
        tell(Finding("redis", state, f"answers in {took * 1000:.1f} ms", mend))
        tell(_skew("Redis'", int(seconds) + int(micro) / 1e6))
    except RedisDown as error:
        mend = "is the server up, the URL right? Until then limits hold for each host alone"
        tell(Finding("redis", "bad", str(error) or "it does not answer", mend))
    finally:
        await link.close()


def _skew(whose: str, moment: float) -> Finding:
    skew = abs(moment - time())
    if skew > _SKEW:
        return Finding("clock", "bad", f"differs from {whose} by {skew:.0f} s", "start NTP on both hosts")
    return Finding("clock", "ok", f"agrees with {whose}")


# Providers


async def _upstreams(file: FileConfig, stored: Rows, tell: Tell) -> None:
    named = {row.slug for row in file.virtual_keys}
    keys = (*file.virtual_keys, *(row for row in stored.virtual_keys if row.slug not in named))
    snapshot = Snapshot(Rows(virtual_keys=keys), Limiters(), hosts.trusted(file.server.trusted_custom_hosts))
    for problem in snapshot.problems:
        tell(Finding("virtual key", "bad", problem, "loopway check, or loopway virtual-keys update"))
    ways: dict[tuple[str, str, int], list[str]] = {}
    for slug, target in snapshot.targets.items():
        ways.setdefault(_way(target), []).append(slug)
    gate = asyncio.Semaphore(_DIALS)

    async def one(way: tuple[str, str, int], slugs: list[str]) -> None:
        async with gate:
            found = await dial(*way)
        for slug in sorted(slugs):
            tell(Finding(f"way to {slug}", found.state, found.said, found.mend))

    await asyncio.gather(*(one(way, slugs) for way, slugs in sorted(ways.items())))
    if not ways:
        tell(Finding("virtual keys", "warn", "there are none", "loopway virtual-keys create, or the file"))


def _way(target: Target) -> tuple[str, str, int]:
    origin = target.origin
    return origin.scheme, origin.host, origin.port


async def dial(scheme: str, host: str, port: int) -> Finding:
    """Looks a name up, connects, and greets by TLS; says how far that went. Nothing else is sent."""
    where = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    began = monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return Finding("", "bad", f"{host} does not resolve", "check the name, and this host's DNS (/etc/resolv.conf)")
    policy = AddressPolicy(private=True)
    addresses = [entry[4][0] for entry in found]
    if not any(policy.allows(str(address)) for address in addresses):
        return Finding(
            "", "bad", f"{host} is an address that is never called", "it is a metadata service or none at all"
        )
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=scheme == "https")
        writer.close()
    except ssl.SSLCertVerificationError as error:
        said = f"{where} shows a certificate that is not trusted: {error.verify_message}"
        return Finding("", "bad", said, "install its authority (SSL_CERT_FILE), or mend the clock")
    except ssl.SSLError as error:
        return Finding("", "bad", f"{where} speaks no TLS: {error.reason}", "http:// or another port?")
    except TimeoutError:
        return Finding("", "bad", f"{where} does not answer in {_PATIENCE:.0f} s", "a firewall between? egress rules?")
    except OSError as error:
        said = f"{where}: {os.strerror(error.errno) if error.errno else error}"
        return Finding("", "bad", said, "is the server up, the port right, the way out open?")
    took = monotonic() - began
    how = "TLS" if scheme == "https" else "TCP, not encrypted"
    return Finding("", "warn" if took > _SLOW else "ok", f"{where} by {how} in {took * 1000:.0f} ms")
