"""The keeper of a host's leases. Every worker has one; only the leader's works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any, Protocol

from proxy.leases import scripts
from proxy.leases.slices import Slices
from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.memory import Memory, Mode, Row
from proxy.redis_link import RedisDown, RedisLink

LEASE = 4.5
"""Seconds that a host may count on what it holds after it was last told so; a host that is gone is forgotten then."""

_BEAT = 0.5
_AWAY = 0.05  # between two tries while Redis does not answer; while the link is down they cost nothing
_TICK = 0.01  # between two commands while hosts want what others have
_FIRST = 2.0  # seconds for the first answer of all
_CHUNK = 200  # rows in one command
_RETELL = 3600.0  # seconds after which all is told again: what nobody speaks of for a day goes from Redis
_ANY = 1 << 31  # a limit for rows of which nothing more is wanted
_PATIENCE = 0.25  # seconds for a command; no request waits for it
_log = logging.getLogger("loopway")


class Dial(Protocol):
    """What a keeper does besides permits, at every round."""

    async def round(self, link: RedisLink) -> None:
        """One round; may raise RedisDown."""

    def ask(self, row: int) -> None:
        """More is wanted of a row."""


class Keeper:
    """Talks to Redis for all workers of this host, one command at a time. `strict`: without Redis nobody comes in."""

    def __init__(self, host: Host, link: RedisLink, *, strict: bool = False) -> None:
        self._host = host
        self._memory = host.memory
        self._link = link
        self._strict = strict
        self._dirty: set[int] = set()
        self._gone: set[str] = set()
        """Names of rows that others want and nobody has here any more."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._epoch = b""
        self._told_all = True
        """Whether Redis knows, in this epoch, of everything that is held here."""
        self._view: frozenset[bytes] = frozenset()
        """The hosts that were alive when Redis last answered, of an epoch that has settled: before, some may lack."""
        self._awaited: frozenset[bytes] = frozenset()
        """While an epoch has still to settle: those of the epoch before, who may hold what Redis has forgotten."""
        self._order = 0
        self._answered = -1
        """The order of the last command that was answered; -1 where Redis may well have forgotten this host."""
        self._retell_at = monotonic() + _RETELL
        self._began = monotonic()
        self.dials: list[Dial] = [Slices(host)]
        self.rounds = 0
        host.shared = True
        host.asked = self.ask

    def start(self) -> None:
        """Begins, in a worker that leads at once, in others when they come to lead."""
        self._link.listen(scripts.CHANNEL, self._told, self._all_dirty)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Ends; the last worker of a host gives everything back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        memory = self._memory
        if memory.leads and memory.alone:
            try:
                await self._link.script(scripts.LEAVE, scripts.KEYS, (memory.id, scripts.CHANNEL), _PATIENCE)
            except RedisDown:
                return  # it is forgotten after a lease

    def ask(self, row: int) -> None:
        """More is wanted of a row. One that is missing something already is looked at with the next tick."""
        for dial in self.dials:
            dial.ask(row)
        if row not in self._dirty or row in self._host.meters:
            self._dirty.add(row)
            self._wake.set()

    # -- what wakes it

    def _told(self, message: bytes) -> None:
        """Another host wants some of a row, or gave some back. Without a row: it is new, or Redis has forgotten all."""
        who, _, name = message.decode("latin-1").partition(":")
        if who == self._memory.id or not self._memory.leads:
            return
        row = self._memory.at(bytes.fromhex(name)) if name else None
        if row is not None and row in self._host.gates:
            self._dirty.add(row)
        elif name:
            self._gone.add(name)
        self._wake.set()

    def _all_dirty(self) -> None:
        if self._memory.leads:
            self._dirty.update(self._held())
            self._wake.set()

    def _held(self) -> Iterable[int]:
        return [at for at, gate in self._host.gates.items() if self._capacity(at) > 0 or gate.row.held]

    def _capacity(self, at: int) -> int:
        return max(0, self._memory.i64[(at + Memory.CAPACITY) // 8])

    # -- rounds

    async def _run(self) -> None:
        term = 0
        while True:
            wait = _BEAT
            if self._memory.lead():
                if term != self._memory.term:
                    term = self._memory.term
                    self._take_over()
                try:
                    await self._round()
                    for dial in self.dials:
                        await dial.round(self._link)
                except RedisDown:
                    self._without()
                except Exception:  # noqa: BLE001 - a keeper that ends would close every limit for good
                    _log.exception("limits cannot be shared")
                    self._without()
                if self._memory.i64[Memory.MODE // 8] != Mode.GOOD:
                    wait = _AWAY  # so that what follows the end of a lease, or Redis's return, comes at once
                elif self._dirty:
                    wait = _TICK
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _take_over(self) -> None:
        """A new leader's commands come after all of the one before."""
        self._order = self._memory.term << 32
        self._answered = -1
        self._dirty.update(self._host.gates)

    async def _round(self) -> None:
        """Renews, and settles what changed."""
        memory = self._memory
        valid_until = memory.f64[Memory.VALID_UNTIL // 8]
        lapsed = monotonic() > valid_until or memory.i64[Memory.MODE // 8] > Mode.HELD
        if lapsed:
            self._answered = -1
            self._claim(share=memory.i64[Memory.MODE // 8] == Mode.SHARE)
            self._dirty.update(self._host.gates)
        began = monotonic()
        if not self._told_all or began > self._retell_at:
            self._retell_at = began + _RETELL
            self._dirty.update(self._held())
        rows = list(self._dirty)
        self._dirty.clear()
        chunks = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)] or [[]]
        whole = b"" if self._told_all else self._epoch
        try:
            for chunk in chunks:
                last = chunk is chunks[-1]
                await self._sync(chunk, fresh=valid_until == 0, whole=last and whole == self._epoch)
        except BaseException:
            self._dirty.update(rows)
            raise
        memory.f64[Memory.VALID_UNTIL // 8] = began + LEASE
        if memory.i64[Memory.MODE // 8] != Mode.GOOD:
            memory.i64[Memory.MODE // 8] = Mode.GOOD
            _log.warning("limits are shared over Redis at %s", self._link.name)
        if lapsed:
            self._host.wake_all()

    def _claim(self, *, share: bool) -> None:
        """What is claimed after a lease has ended. What was idle may be another's by now, so it is what is in flight;
        but while each host gave out its `share`, that is what all others took to be this one's."""
        memory = self._memory
        live = max(1, memory.i64[Memory.LIVE // 8])
        for at, gate in self._host.gates.items():
            self._shrink(at, 0)
            if share and gate.limit is not None:
                with memory.locked(at):
                    cell = (at + Memory.CAPACITY) // 8
                    memory.i64[cell] = max(memory.i64[cell], 1, gate.limit // live)

    async def _sync(self, rows: list[int], *, fresh: bool, whole: bool) -> None:
        """One command. `fresh`: this host has never spoken; `whole`: with these rows all is told that is held here."""
        memory = self._memory
        if not self._link.up:
            raise RedisDown("nobody is asked before the link is up again")
        # What was given up for a command that gets lost would be nobody's: so nothing is while Redis does not answer.
        answers = memory.i64[Memory.MODE // 8] == Mode.GOOD
        arguments: list[bytes | str | int | float] = []
        gates = [(at, gate) for at in rows if (gate := self._host.gates.get(at)) is not None and gate.limit is not None]
        for at, gate in gates:
            share = memory.i64[(at + Memory.SHARE) // 8]
            if answers and share >= 0:
                self._shrink(at, share)
            elif answers and self._capacity(at) > (gate.limit or 0):
                self._shrink(at, 0)
            used = gate.row.held
            held = max(used, self._capacity(at))
            arguments += [memory.name_of(at), gate.limit or 0, held, self._wanted(gate, used, held, share)]
        for name in self._gone:
            row = memory.at(bytes.fromhex(name))
            arguments += [name, _ANY, 0 if row is None else Row(memory, row).held, 0]
        self._gone.clear()
        self._order += 1
        self.rounds += 1
        head = (memory.id, self._order, LEASE, int(fresh), scripts.CHANNEL, self._epoch, self._answered, int(whole))
        awaited = self._awaited if whole else frozenset()
        arguments[:0] = [*head, len(awaited), *awaited]
        answer: list[Any] = await self._link.script(scripts.SYNC, scripts.KEYS, arguments, _PATIENCE)
        epoch, hosts, settles, *numbers = answer
        if settles == -1 or not memory.lead():
            raise RedisDown("a command came too late, or another worker speaks for this host by now")
        self._answered = self._order
        self._heard(epoch, frozenset(hosts), whole=whole, settles=settles == 1)
        for index, (at, gate) in enumerate(gates):
            held, share, unmet = numbers[3 * index : 3 * index + 3]
            self._settle(at, gate, held, share)
            if unmet > 0 or share >= 0:
                self._dirty.add(at)

    def _heard(self, epoch: bytes, hosts: frozenset[bytes], *, whole: bool, settles: bool) -> None:
        """What an answer says of the epoch, and of who is alive."""
        if epoch != self._epoch:
            if self._epoch:
                _log.warning("Redis has forgotten the limits; they are told anew")
            self._awaited |= self._view
            self._epoch, self._told_all = epoch, False
            self._wake.set()
        elif whole:
            self._told_all = True
        if not settles:
            self._awaited = frozenset()
            self._view = hosts
        self._memory.i64[Memory.LIVE // 8] = len(hosts | self._awaited)

    def _wanted(self, gate: Gate, used: int, held: int, share: int) -> int:
        """How many more permits this host can use now, and some to spare where nobody else wants them."""
        queued = gate.row.queued
        if used < held or (not queued and not used):
            return 0  # there is room, or no use
        live = max(1, self._memory.i64[Memory.LIVE // 8])
        limit = gate.limit or 0
        if share >= 0:
            return max(0, min(limit, used + queued) - held)
        # Its fair share at once, so that it has that if Redis goes; what lies idle goes back when others want it.
        return max(0, min(limit, max(used + queued + limit // (4 * live), limit // live)) - held)

    def _settle(self, at: int, gate: Gate, held: int, share: int) -> None:
        memory = self._memory
        with memory.locked(at):
            memory.i64[(at + Memory.CAPACITY) // 8] = held
            memory.i64[(at + Memory.SHARE) // 8] = share
        if gate.row.queued:
            self._host.wake(at)

    def _shrink(self, at: int, share: int) -> None:
        """Gives up what is idle, and what is above a fair share as it ends. First here, then in Redis: never the other
        way round."""
        memory = self._memory
        gate = self._host.gates[at]
        with memory.locked(at):
            cell = (at + Memory.CAPACITY) // 8
            used = gate.row.held
            memory.i64[cell] = min(memory.i64[cell], max(used, min(share, used + gate.row.queued)))

    # -- without Redis

    def _without(self) -> None:
        """What is held stays ours until the lease ends. Then, as nobody can be asked: a share of everything, or, with
        the strict policy, nothing."""
        memory = self._memory
        if not memory.lead():
            return
        now = monotonic()
        mode = memory.i64[Memory.MODE // 8]
        if memory.f64[Memory.VALID_UNTIL // 8] == 0 and now < self._began + _FIRST:
            return  # Redis has not answered yet: whoever comes waits, or is refused
        if now < memory.f64[Memory.VALID_UNTIL // 8] and mode in (Mode.GOOD, Mode.HELD):
            memory.i64[Memory.MODE // 8] = Mode.HELD
            return
        if mode not in (Mode.SHARE, Mode.CLOSED):
            what = "nobody is let in (strict)" if self._strict else "each host gives out its share"
            _log.error("limits cannot be shared, because Redis does not answer; %s", what)
        memory.i64[Memory.MODE // 8] = Mode.CLOSED if self._strict else Mode.SHARE
        memory.f64[Memory.VALID_UNTIL // 8] = now + 4 * _BEAT
        if mode not in (Mode.SHARE, Mode.CLOSED):
            self._host.wake_all()
