"""The workers of one host: their memory, the bells by which they wake each other, and the one that leads.

A bell is a datagram socket in the abstract namespace (Linux), named after the memory and the slot; what is rung is a
row's offset. Where there are none, and should one get lost, whoever waits looks by himself every 20 ms.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from struct import Struct

from proxy.limits.memory import Memory

_LOOK_EVERY = 0.1  # a dead worker's permits are back after two or three looks
_OFFSET = Struct("<q")
_MANY = 256

Poke = Callable[[], None]


class Host:
    """One worker's place among the workers of its host."""

    def __init__(self, memory: Memory | None = None) -> None:
        """Without memory it is alone and has its own. Raises `memory.Full`."""
        self.memory = Memory.create(1) if memory is None else memory
        self.memory.attach()
        self.shared = False
        """Whether several hosts count together: then limits are what this one holds a lease for."""
        self.pokes: dict[int, Poke] = {}
        """What to do when a row's bell rings."""
        self.duties: list[Callable[[], None]] = []
        """What the leader does besides, at every look."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to listen and to look after others."""
        self._loop = loop
        if sys.platform == "linux":
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            with suppress(OSError):
                self._socket.bind(self._address(self.memory.slot))
            loop.add_reader(self._socket.fileno(), self._rung)
        self._look()

    def stop(self) -> None:
        """Gives back the slot, and whatever is still counted in it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self.memory.detach()

    def ring(self, slot: int, row: int) -> None:
        """Wakes those who wait at a row in another worker."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(_OFFSET.pack(row), self._address(slot))

    def _address(self, slot: int) -> str:
        return f"\0loopway-{self.memory.id}-{slot}"

    def _rung(self) -> None:
        rows: set[int] = set()
        assert self._socket is not None
        with suppress(OSError):
            for _ in range(_MANY):
                told = self._socket.recv(16)
                if len(told) == _OFFSET.size:
                    rows.add(_OFFSET.unpack(told)[0])
        for row in rows:
            poke = self.pokes.get(row)
            if poke is not None:
                poke()

    def _look(self) -> None:
        if self.memory.lead():
            self.memory.sweep()
            for duty in self.duties:
                duty()
        assert self._loop is not None
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
