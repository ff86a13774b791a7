"""Rates and budgets over several hosts: each takes slices of the bucket in Redis, and gives back what it does not use.

Within its slices a host counts alone. What Redis has given out never exceeds the rate or the budget (but for the one
reservation by which a budget may be passed), so all hosts together never do either; what is lost is a slice that a host
took with it when it vanished. A slice that lay idle for half a second goes back.
"""

from __future__ import annotations

from time import monotonic, time

from proxy.leases import scripts
from proxy.limits.host import Host
from proxy.limits.memory import Memory
from proxy.limits.meter import Meter
from proxy.limits.rates import BUDGET
from proxy.redis_link import RedisDown, RedisLink

_SLICES = 20  # of a bucket, for each host: so many round trips serve a whole bucket at least
_PATIENCE = 0.5
_IDLE = 0.5  # seconds after which what was not used goes back
_AGAIN = 1.0  # seconds until an exhausted budget is asked for again
_CHUNK = 100

Synced = tuple[str, int, int]
"""What Redis counts of a budget for this host: in which window, since which reset, and how much it held then."""


class Slices:
    """Takes and gives back, for the leader of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked: set[int] = set()
        self._seen: dict[tuple[int, int], float] = {}
        self._synced: dict[int, tuple[str, Synced]] = {}
        """By row, with the row's name: it may have become another key's."""
        self._looked = 0.0

    def ask(self, row: int) -> None:
        """More is wanted of a row's rates or budget."""
        if row in self._host.meters:
            self._asked.add(row)

    async def round(self, link: RedisLink) -> None:
        """Takes what is wanted; now and then gives back what lies idle. Raises RedisDown."""
        rows, self._asked = self._asked, set()
        now = monotonic()
        idle = now - self._looked >= _IDLE
        if idle:
            self._looked = now
            rows |= self._host.meters.keys()
        items = [item for row in rows for item in self._items(row, row_idle=idle)]
        for start in range(0, len(items), _CHUNK):
            await self._take(link, items[start : start + _CHUNK])

    def _items(self, row: int, *, row_idle: bool) -> list[Item]:
        meter = self._host.meters[row]
        memory = meter.memory
        live = max(1, memory.i64[Memory.LIVE // 8])
        found: list[Item] = []
        with memory.locked(row):
            for index, limit, interval in meter.shares(time()):
                pool = memory.f64[(row + Memory.POOLS) // 8 + index]
                wanted = memory.f64[(row + Memory.WANTS) // 8 + index]
                unused = row_idle and pool > 0 and self._seen.get((row, index)) == pool
                if row_idle:
                    self._seen[(row, index)] = pool
                if not wanted and not unused and pool >= 0:
                    continue
                # What is there is kept while more is wanted: were it sent along, it could get lost.
                give = 0.0 if wanted else pool
                wanted = max(1.0, wanted - pool) if wanted else 0.0
                memory.f64[(row + Memory.POOLS) // 8 + index] -= give
                memory.f64[(row + Memory.WANTS) // 8 + index] = 0.0
                most = max(wanted, limit // (_SLICES * live)) if wanted else 0
                name, synced = self._synced.get(row, ("", None))
                known = synced if name == memory.name_of(row) else None
                found.append(Item(meter, row, index, limit, interval, wanted, most, give, known))
        return found

    async def _take(self, link: RedisLink, items: list[Item]) -> None:
        memory = self._host.memory
        arguments: list[bytes | str | int | float] = []
        for item in items:
            arguments += [memory.name_of(item.row), item.field, item.limit, repr(item.interval)]
            arguments += [repr(item.wanted), repr(float(item.most)), repr(item.give), item.seed, item.reset_at]
            arguments += [item.synced, item.brings]
        try:
            answer = await link.script(scripts.TAKE, scripts.KEYS, arguments, _PATIENCE)
        except RedisDown:
            for item in items:
                item.keep_debt()
            raise
        now = monotonic()
        for position, item in enumerate(items):
            granted, wait, left, reset = (float(value) for value in answer[4 * position : 4 * position + 4])
            if item.index == BUDGET:
                synced = (item.field, int(reset), int(item.held + granted))
                self._synced[item.row] = (memory.name_of(item.row), synced)
            item.settle(granted, wait, left, int(reset), now)


class Item:
    """One rate or budget of one row, and what is asked of it."""

    __slots__ = (
        "brings",
        "field",
        "give",
        "held",
        "index",
        "interval",
        "limit",
        "meter",
        "most",
        "reset_at",
        "row",
        "seed",
        "synced",
        "wanted",
    )

    def __init__(
        self,
        meter: Meter,
        row: int,
        index: int,
        limit: int,
        interval: float,
        wanted: float,
        most: float,
        give: float,
        synced: Synced | None,
    ) -> None:
        self.meter, self.row, self.index = meter, row, index
        self.limit, self.interval, self.wanted, self.most, self.give = limit, interval, wanted, most, give
        memory = meter.memory
        self.reset_at = 0 if meter.spending is None else meter.reset_at
        if index == BUDGET:
            self.field = f"b{meter.window}"
            # Where Redis knows nothing, it is told what this host knows to be spent, and what is on its way.
            pool = memory.f64[(row + Memory.POOLS) // 8 + index]
            self.held = int(meter.reserved + pool)
            self.seed = self.brings = int(meter.spent + self.held + give)
            if synced is None:  # a leader that is new goes on where the one before it was
                self.synced, self.brings = self.reset_at, int(self.held + give)
            elif synced[0] != self.field:
                self.synced = -1
            else:
                self.synced = synced[1]
                if self.reset_at <= synced[1]:
                    self.brings = synced[2]
        else:
            self.field, self.seed, self.held, self.synced, self.brings = f"r{index}", 0, 0, 0, 0

    def keep_debt(self) -> None:
        """The command may not have arrived: what is owed is owed still; what was given back is lost, to be sure."""
        memory = self.meter.memory
        with memory.locked(self.row):
            memory.f64[(self.row + Memory.POOLS) // 8 + self.index] += min(0.0, self.give)
            memory.f64[(self.row + Memory.WANTS) // 8 + self.index] = self.wanted

    def settle(self, granted: float, wait: float, left: float, reset: int, now: float) -> None:
        """Takes in what was granted, and when the budget was last reset by any host."""
        memory, meter = self.meter.memory, self.meter
        with memory.locked(self.row):
            pool = (self.row + Memory.POOLS) // 8 + self.index
            if self.index == BUDGET and self.field != f"b{meter.window}":
                return  # a new window has begun meanwhile
            memory.f64[pool] += granted
            if self.index == BUDGET and meter.reset_at != self.reset_at:
                return  # it was reset meanwhile: how it stands now the next command will tell
            memory.f64[(self.row + Memory.AVAILS) // 8 + self.index] = left
            if self.wanted and not granted:
                memory.f64[(self.row + Memory.DENIED) // 8 + self.index] = now + (wait or _AGAIN)
            if self.index == BUDGET:
                taken = self.limit - left
                meter.begin_anew(reset)
                meter.spent = int(taken - memory.f64[pool]) - meter.reserved
