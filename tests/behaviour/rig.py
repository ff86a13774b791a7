"""A gateway of one worker in the test's own loop: real sockets on both sides, and its insides within reach.

    async with Rig(openai=upstream.url) as rig:
        answer = await rig.chat()

Virtual keys are given as `slug=address` (a provider is what the slug begins with) or as rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import msgspec

from proxy.app import Gateway, gateway
from proxy.config.file import FileConfig
from proxy.config.settings import LogSettings, ServerSettings, UpstreamSettings
from proxy.ports import ApiKeyRow, BudgetRow, ConfigRow, Limits, Rows, Secret, VirtualKeyRow
from proxy.workers import listen
from tests.behaviour.client import Answer, Line, ask, connect, request

TOKEN = "lw-test"
HELLO = [{"role": "user", "content": "Hello there"}]
CHAT = {"model": "gpt-4o", "messages": HELLO}
MESSAGES = {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": HELLO}


class MemoryStore:
    """As much of `proxy.ports.Store` as a worker needs; what it is given is in `usage`."""

    def __init__(self) -> None:
        self.stored = Rows()
        self.usage: list[tuple[object, ...]] = []
        self.budgets: list[BudgetRow] = []

    async def seq(self) -> int:
        return self.stored.seq

    async def rows(self) -> Rows:
        return self.stored

    async def append_usage(self, rows: list[tuple[object, ...]]) -> None:
        self.usage += rows

    async def run(self, lane: str, job: object, *arguments: object) -> int:
        """Chores find nothing to do."""
        return 0

    async def load_budgets(self) -> list[BudgetRow]:
        return self.budgets

    async def save_budgets(self, rows: list[BudgetRow]) -> None:
        self.budgets = [*rows, *(row for row in self.budgets if row.name not in {new.name for new in rows})]

    async def close(self) -> None:
        pass


def api_key(name: str = "test", token: str = TOKEN, **fields: Any) -> ApiKeyRow:
    """A key of this gateway."""
    return ApiKeyRow(id=name, name=name, digest=hashlib.sha256(token.encode()).hexdigest(), origin="file", **fields)


def virtual_key(slug: str, url: str, **fields: Any) -> VirtualKeyRow:
    """A stored credential whose provider is what the slug begins with."""
    provider = fields.pop("provider", slug.partition("-")[0])
    return VirtualKeyRow(
        slug=slug, name=slug, provider=provider, key=Secret(f"sk-{slug}"), custom_host=f"{url}/v1", **fields
    )


class Rig:
    """The gateway. `timeouts` are those of `server.upstream`; `server` changes any other setting; `listens` is the
    address of the socket that it is handed."""

    def __init__(
        self,
        *,
        keys: tuple[ApiKeyRow, ...] = (),
        virtual_keys: tuple[VirtualKeyRow, ...] = (),
        configs: dict[str, dict[str, Any]] | None = None,
        limits: Limits | None = None,
        store: Any = None,
        server: dict[str, Any] | None = None,
        timeouts: dict[str, Any] | None = None,
        listens: str = "127.0.0.1",
        **addresses: str,
    ) -> None:
        rows = [virtual_key(slug.replace("_", "-"), url) for slug, url in addresses.items()]
        settings = ServerSettings(upstream=UpstreamSettings(**(timeouts or {})), **(server or {}))
        self.store = MemoryStore() if store is None else store
        self.file = FileConfig(
            api_keys=(api_key(limits=limits or Limits()), *keys),
            virtual_keys=(*rows, *virtual_keys),
            configs=tuple(ConfigRow(slug=slug, name=slug, config=value) for slug, value in (configs or {}).items()),
            server=settings,
            logs=LogSettings(access=False),
            digest="1",
        )
        self._directory = tempfile.TemporaryDirectory()
        self.run = Path(self._directory.name)
        self.port = 0
        self._listens = listens
        self.gateway: Gateway

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = listen(self._listens, 0)
        self.port = listener.getsockname()[1]
        self.gateway = Gateway(self.file, None, lambda: self.file, self.store, self.run, (), loop)
        # What a worker does to the collector, once in its life, would cost every test.
        with mock.patch.object(gateway, "gc"):
            await self.gateway.start([listener])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.gateway.stop(0.0)
        self._directory.cleanup()

    # -- asking

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """One POST on a connection of its own. Underscores in header names are dashes; `vk` is the virtual key."""
        return await ask(self.port, self.raw(path, body, **headers))

    def raw(self, path: str, body: Any, **headers: str) -> bytes:
        """The bytes of that request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request(path, data, self._fields(headers))

    def _fields(self, headers: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        slug = named.pop("vk", None)
        if slug is None and len(self.file.virtual_keys) == 1 and "config" not in named:
            slug = self.file.virtual_keys[0].slug
        if "config" in named:
            named["x-portkey-config"] = named.pop("config")
        elif slug is not None:
            named["x-portkey-virtual-key"] = slug
        return named

    async def chat(self, *, config: Any = None, **fields: Any) -> Answer:
        """One chat completion; `config` is a slug or an object."""
        headers = {} if config is None else {"config": config if isinstance(config, str) else json.dumps(config)}
        return await self.post("/v1/chat/completions", {**CHAT, **fields}, **headers)

    async def open(self, path: str, body: Any, *, receive_buffer: int | None = None, **headers: str) -> Line:
        """Sends a request and leaves the answer to the test."""
        line = await connect(self.port, receive_buffer=receive_buffer)
        line.send(self.raw(path, body, **headers))
        return line

    # -- looking inside

    @property
    def open_upstream(self) -> int:
        """Upstream connections in use now."""
        return sum(connection.busy for connection in self.gateway.transport.active)

    @property
    def permits(self) -> int:
        """Permits held of all limiters."""
        return sum(limiter.held for limiter in self.gateway.live.limiters.all.values())

    @property
    def in_flight(self) -> int:
        return self.gateway.metrics.in_flight

    @property
    def quiet(self) -> bool:
        """Whether nothing of any request is left."""
        return not (self.open_upstream or self.permits or self.in_flight)

    async def until(self, condition: Any, timeout: float = 30) -> None:
        """Waits until `condition()` holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.001)

    async def usage(self) -> list[dict[str, Any]]:
        """The ledger's rows so far, as dictionaries; of each request its last, as a store has it."""
        from proxy.usage_columns import COLUMNS, flat

        await self.gateway.ledger.flush()
        rows = [dict(zip(COLUMNS, flat(row), strict=True)) for row in self.store.usage]
        return list({row["request_id"]: row for row in rows}.values())

    def replace(self, **changes: Any) -> None:
        """Changes the configuration file, as an edit on disk would."""
        digest = str(int(self.file.digest) + 1)
        self.file = msgspec.structs.replace(self.file, digest=digest, **changes)


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
