"""The workers of one host, so that they answer as one: a question is asked once, whichever workers hear it.

Each worker listens on a socket in the run directory. Every question has a *home* among them, by rendezvous hashing over
the sockets that are there. Before a worker makes a call it asks the home: it gets a kept answer, or the lead, or word
that another one has it. Who leads tells the home what its own askers get, as they get it, and the home tells those who
follow. A leader that goes without having begun hands the lead to the next.

All of this only ever saves calls. Where a worker does not answer at once, its neighbour goes on alone. Messages are
msgpack arrays, each behind its length; the socket is for this user only, and what comes out of it is trusted as far as
the worker itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import blake2b
from pathlib import Path
from time import monotonic, time
from typing import Any

import msgspec

from proxy.cache.entry import Entry

_PATIENCE = 1.0  # seconds for a neighbour to say who leads
_LISTED = 1.0  # seconds that a look at the directory is good for
_LIMIT = 16 << 20  # bytes that may wait for a neighbour
_LARGEST = 256 << 20

Message = list[Any]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Link:
    """One connection between two workers."""

    __slots__ = ("_reader", "_writer", "lost")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lost = False
        """Whether the other side is gone."""
        self._reader = reader
        self._writer = writer

    def send(self, *message: Any) -> None:
        """Sends without waiting. A neighbour that does not read is let go."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        data = _encode(message)
        transport.write(len(data).to_bytes(4, "big") + data)
        if transport.get_write_buffer_size() > _LIMIT:
            transport.abort()

    async def receive(self) -> Message | None:
        """The next message; None when the other side is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length > _LARGEST:
                return None
            message = _decode(await self._reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError):
            self.lost = True
            return None
        return message if message else None

    async def messages(self, patience: float | None = None) -> AsyncIterator[Message]:
        """All that come, until the other side is gone, or says nothing for `patience` seconds."""
        while True:
            try:
                async with asyncio.timeout(patience):
                    message = await self.receive()
            except TimeoutError:
                return
            if message is None:
                return
            yield message

    def close(self) -> None:
        """Sends what is written and ends."""
        with contextlib.suppress(RuntimeError, OSError):
            self._writer.close()


class _Claim:
    """One question under way, at its home."""

    def __init__(self, leader: Link) -> None:
        self.leader = leader
        self.followers: list[Link] = []
        self.told: list[Message] = []
        self.size = 0
        self.over = False

    def hear(self, message: Message) -> None:
        """Passes on what the leader says."""
        self.told.append(message)
        self.size += sum(len(part) for part in message if isinstance(part, bytes))
        self.over = self.over or message[0] == "end"
        for follower in self.followers:
            follower.send(*message)

    def leave(self, link: Link) -> None:
        """One is gone; a leader that has said nothing yet hands over."""
        if link is not self.leader:
            if link in self.followers:
                self.followers.remove(link)
        elif not self.over:
            if self.followers and not self.told:
                self.leader = self.followers.pop(0)
                self.leader.send("lead")
                return
            self.over = True
            for follower in self.followers:
                follower.close()


class Peers:
    """One worker among its neighbours. `keep`, `find` and `drop` are its memory's."""

    def __init__(self, run_dir: Path, memory: Any) -> None:
        self._run_dir = run_dir
        self._own = f"cache-{os.getpid()}-{id(self):x}.sock"
        self._folder = -1
        self._memory = memory
        self._claims: dict[bytes, _Claim] = {}
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._names: list[str] = []
        self._looked = -_LISTED
        self.asked = 0

    async def start(self) -> None:
        """Listens. Without it this worker is alone."""
        before = os.umask(0o177)
        try:
            self._folder = os.open(self._run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._server = await asyncio.start_unix_server(self._serve, self._at(self._own))
        except OSError as error:
            logging.getLogger("loopway").warning("this worker shares no answers with the others: %s", error)
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                os.unlink(self._at(self._own))
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        for link in tuple(self._links):
            link.close()

    def _at(self, name: str) -> str:
        """A socket's address. By way of the open directory, because an address may have no more than 107 bytes."""
        return f"/proc/self/fd/{self._folder}/{name}"

    # -- asking

    def _neighbours(self) -> list[str]:
        """All workers of this host with a socket, this one among them."""
        now = monotonic()
        if now - self._looked >= _LISTED:
            self._looked = now
            self._names = [path.name for path in self._run_dir.glob("cache-*.sock")]
        return self._names

    def _homes(self, key: bytes) -> Iterator[str]:
        """Where to ask, the best place first; nowhere if this worker is the only one."""
        names = self._neighbours() if self._server is not None else []
        if len(names) < 2:
            return iter(())
        return iter(sorted(names, key=lambda socket: blake2b(socket.encode() + key, digest_size=8).digest())[:2])

    async def ask(self, name: bytes, key: bytes, *, refresh: bool) -> tuple[Link | None, Message]:
        """What the home of a question says first, and the connection to it; without one: go on alone."""
        for socket in self._homes(key):
            self.asked += 1
            link: Link | None = None
            try:
                async with asyncio.timeout(_PATIENCE):
                    link = Link(*await asyncio.open_unix_connection(self._at(socket)))
                    link.send("ask", name, key, refresh)
                    message = await link.receive()
            except (OSError, TimeoutError) as error:
                message = None
                if isinstance(error, ConnectionRefusedError):
                    # Its worker was killed: nobody will listen there again.
                    with contextlib.suppress(OSError):
                        os.unlink(self._at(socket))
            except BaseException:
                if link is not None:
                    link.close()
                raise
            if message is not None and link is not None:
                return link, message
            if link is not None:
                link.close()
            if socket in self._names:
                self._names.remove(socket)
        return None, []

    async def forget(self, key: bytes) -> None:
        """Tells every neighbour that an answer is no longer true."""
        for socket in tuple(self._neighbours()) if self._server is not None else ():
            if socket == self._own:
                continue
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    link = Link(*await asyncio.open_unix_connection(self._at(socket)))
                    link.send("drop", key)
                    link.close()

    # -- being asked

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._links.add(link)
        try:
            message = await link.receive()
            if message is not None and message[0] == "drop":
                self._memory.drop(message[1])
            elif message is not None and message[0] == "ask":
                _, name, key, refresh = message
                await self._home(link, name, key, refresh=refresh)
        finally:
            self._links.discard(link)
            link.close()

    async def _home(self, link: Link, name: bytes, key: bytes, *, refresh: bool) -> None:
        entry = None if refresh else self._memory.peek(key)
        if entry is not None and entry.until > time():
            link.send("entry", _encode(entry))
            return
        claim = self._claims.get(name)
        if claim is None:
            claim = self._claims[name] = _Claim(link)
            link.send("lead")
        else:
            claim.followers.append(link)
            link.send("follow")
            for told in claim.told:
                link.send(*told)
        try:
            async for message in link.messages():
                if claim.leader is link:
                    claim.hear(message)
                    if claim.over and message[1] is not None:
                        self._memory.put(key, _decode_entry(message[1]))
                    if claim.over or claim.size > _LIMIT:
                        self._end(name, claim)
        finally:
            claim.leave(link)
            if claim.over or (claim.leader is link and not claim.followers):
                self._end(name, claim)

    def _end(self, name: bytes, claim: _Claim) -> None:
        if self._claims.get(name) is claim:
            del self._claims[name]


def entry_of(message: Message) -> Entry:
    """The kept answer in an `entry` message. Raises MsgspecError."""
    return _decode_entry(message[1])


def packed(entry: Entry | None) -> bytes | None:
    """A kept answer as a message carries it."""
    return None if entry is None else _encode(entry)
