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


class Slices:
    """Takes and gives back, for the leader of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked: set[int] = set()
        self._seen: dict[tuple[int, int], float] = {}
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
                found.append(Item(meter, row, index, limit, interval, wanted, most, give))
        return found

    async def _take(self, link: RedisLink, items: list[Item]) -> None:
        memory = self._host.memory
        arguments: list[bytes | str | int | float] = []
        for item in items:
            arguments += [memory.name_of(item.row), item.field, item.limit, repr(item.interval)]
            arguments += [repr(item.wanted), repr(float(item.most)), repr(item.give), item.seed, item.reset_at]
        try:
            answer = await link.script(scripts.TAKE, scripts.KEYS[:1], arguments, _PATIENCE)
        except RedisDown:
            for item in items:
                item.keep_debt()
            raise
        now = monotonic()
        for position, item in enumerate(items):
            granted, wait, left = (float(value) for value in answer[3 * position : 3 * position + 3])
            item.settle(granted, wait, left, now)


class Item:
    """One rate or budget of one row, and what is asked of it."""

    __slots__ = ("field", "give", "index", "interval", "limit", "meter", "most", "reset_at", "row", "seed", "wanted")

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
    ) -> None:
        self.meter, self.row, self.index = meter, row, index
        self.limit, self.interval, self.wanted, self.most, self.give = limit, interval, wanted, most, give
        memory = meter.memory
        self.reset_at = 0 if meter.spending is None else meter.reset_at
        if index == BUDGET:
            self.field = f"b{meter.window}"
            # Where Redis knows nothing, it is told what this host knows to be spent, and what is on its way.
            pool = memory.f64[(row + Memory.POOLS) // 8 + index]
            self.seed = int(meter.spent + meter.reserved + give + pool)
        else:
            self.field, self.seed = f"r{index}", 0

    def keep_debt(self) -> None:
        """The command may not have arrived: what is owed is owed still; what was given back is lost, to be sure."""
        memory = self.meter.memory
        with memory.locked(self.row):
            memory.f64[(self.row + Memory.POOLS) // 8 + self.index] += min(0.0, self.give)
            memory.f64[(self.row + Memory.WANTS) // 8 + self.index] = self.wanted

    def settle(self, granted: float, wait: float, left: float, now: float) -> None:
        """Takes in what was granted."""
        memory = self.meter.memory
        with memory.locked(self.row):
            pool = (self.row + Memory.POOLS) // 8 + self.index
            if self.index == BUDGET and self.field != f"b{self.meter.window}":
                return  # a new window has begun meanwhile
            memory.f64[pool] += granted
            memory.f64[(self.row + Memory.AVAILS) // 8 + self.index] = left
            if self.wanted and not granted:
                memory.f64[(self.row + Memory.DENIED) // 8 + self.index] = now + (wait or _AGAIN)
            if self.index == BUDGET:
                taken = self.limit - left
                self.meter.spent = int(taken - memory.f64[pool]) - self.meter.reserved
