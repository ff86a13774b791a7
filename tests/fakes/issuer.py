"""An issuer of tokens on a loopback port: answers what its script says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


Answer = tuple[int, Any]
"""Status, and a body: bytes as they are, text as it is, anything else as JSON."""


class Issuer:
    """`answer` gives the answer for each request; it may wait. `url` is where it listens."""

    def __init__(self, answer: Callable[[Asked], Awaitable[Answer]]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Issuer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length") or 0))
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            status, value = await self.answer(asked)
            raw = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else None
            raw = json.dumps(value).encode() if raw is None else raw
            writer.write(
                b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(raw), raw)
            )
            await writer.drain()
        finally:
            writer.close()


def tokens(lifetime: float = 3600, **more: Any) -> Callable[[Asked], Awaitable[Answer]]:
    """Answers with token-1, token-2 … as OAuth issuers do."""
    count = 0

    async def answer(asked: Asked) -> Answer:
        nonlocal count
        count += 1
        return 200, {"access_token": f"token-{count}", "expires_in": lifetime, "token_type": "Bearer", **more}

    return answer
