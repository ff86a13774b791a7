"""Answers of the gateway's own that are too large to be held: written part by part, no faster than they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from proxy.errors import UpstreamFailure
from proxy.seams import Client


class Gate:
    """Lets the next part through while its reader keeps up. Implements `proxy.seams.Flow`."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False

    def pause(self) -> None:
        """The reader is slow."""
        self._open.clear()

    def resume(self) -> None:
        """The reader is ready for more."""
        self._open.set()

    def cut(self, failure: UpstreamFailure) -> None:
        """Nothing more is wanted."""
        self._cut = True
        self._open.set()

    async def wait(self) -> bool:
        """Waits for the reader; False if nothing more is wanted."""
        await self._open.wait()
        return not self._cut


async def send(client: Client, status: int, head: bytes, parts: AsyncGenerator[bytes, None]) -> None:
    """Sends an answer of unknown length. What fails before the first part is raised and can still be told; later the
    connection is cut, which is how the reader learns that this is not all."""
    gate = Gate()
    async with aclosing(parts):
        first = await anext(parts, b"")
        client.begin(status, head, None)
        client.feed_from(gate)
        try:
            client.write(first)
            async for part in parts:
                if not await gate.wait():
                    client.abort()
                    return
                client.write(part)
            client.write(b"", True)
        except BaseException:
            client.abort()
            raise
        finally:
            client.feed_from(None)
