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
from typing import TYPE_CHECKING

from proxy.limits.memory import Memory

if TYPE_CHECKING:
    from proxy.limits.gate import Gate
    from proxy.limits.meter import Meter

_LOOK_EVERY = 0.1  # a dead worker's permits are back after two or three looks
_OFFSET = Struct("<q")
_MANY = 256
_ASK = 1  # rows begin at multiples of 64: the lowest bit is free to say that it is a question


class Host:
    """One worker's place among the workers of its host."""

    def __init__(self, memory: Memory | None = None) -> None:
        """Without memory it is alone and has its own. Raises `memory.Full`."""
        self.memory = Memory.create(1) if memory is None else memory
        self.memory.attach()
        self.shared = False
        """Whether several hosts count together: then limits are what this one holds a lease for."""
        self.gates: dict[int, Gate] = {}
        """By row: who is woken when its bell rings."""
        self.meters: dict[int, Meter] = {}
        """By row: rates and budgets."""
        self.asked: Callable[[int], None] | None = None
        """What the leader does when a row needs more than this host has."""
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

    def ask(self, row: int) -> None:
        """Says to the leader that a row needs more than this host has."""
        if self.memory.leads:
            if self.asked is not None:
                self.asked(row)
        else:
            self.ring(self.memory.i64[Memory.LEADER // 8], row | _ASK)

    def wake(self, row: int) -> None:
        """Wakes all workers that have somebody waiting at a row."""
        gate = self.gates.get(row)
        if gate is None:
            return
        for slot, waiting in enumerate(self.memory.u32s(gate.row.waiting)):
            if slot == self.memory.slot:
                gate.poke()
            elif waiting:
                self.ring(slot, row)

    def wake_all(self) -> None:
        """The same for all rows."""
        for row, gate in tuple(self.gates.items()):
            if gate.row.queued:
                self.wake(row)

    def _told(self, row: int) -> None:
        if row & _ASK:
            if self.asked is not None and self.memory.leads:
                self.asked(row & ~_ASK)
            return
        gate = self.gates.get(row)
        if gate is not None:
            gate.poke()

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
            self._told(row)

    def _look(self) -> None:
        if self.memory.lead():
            self.memory.sweep()
            for duty in self.duties:
                duty()
        assert self._loop is not None
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
