"""Several hosts in one loop: each with its memory, its link to a real Redis, its keeper, and a gate of one identity."""

from __future__ import annotations

import asyncio
import random

from proxy.leases import Keeper
from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.memory import Memory, Mode
from proxy.redis_link import RedisLink


class OneHost:
    """A host of one worker."""

    def __init__(self, url: str, limit: int, size: int, timeout: float, *, strict: bool = False) -> None:
        self.host = Host(Memory.create(1))
        self.link = RedisLink(url, timeout=1.0)
        self.keeper = Keeper(self.host, self.link, strict=strict)
        self.host.start(asyncio.get_running_loop())
        self.gate = Gate(self.host, self.host.memory.row("virtual key", "v"))
        self.gate.set(limit, size, timeout)
        self.keeper.start()

    @property
    def held(self) -> int:
        return self.gate.row.held

    @property
    def mode(self) -> Mode:
        return Mode(self.host.memory.i64[Memory.MODE // 8])

    async def take(self, flow: str = "a") -> bool:
        gate = self.gate
        with gate._memory.locked(gate.row.at):
            if gate.room():
                gate.u32[gate.row.my_used] += 1
                return True
        return await gate.wait(flow, 16)

    async def take_all(self, count: int) -> None:
        """Takes as many, and goes on asking until it has them: a lease comes over the network, when it comes."""
        async with asyncio.timeout(30):
            while count:
                if await self.take():
                    count -= 1
                else:
                    await asyncio.sleep(0.005)

    def give(self) -> None:
        self.gate.give()

    async def stop(self, *, gracefully: bool = True) -> None:
        if gracefully:
            await self.keeper.stop()
        elif self.keeper._task is not None:
            self.keeper._task.cancel()
        self.host.stop()
        await self.link.close()


class Counted:
    """What a provider would see: how many are in flight now, and how many at most."""

    def __init__(self) -> None:
        self.now = self.most = self.served = 0

    async def visit(self, host: OneHost, seconds: float) -> bool:
        if not await host.take():
            return False
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
            self.served += 1
            return True
        finally:
            self.now -= 1
            host.give()

    async def crowd(self, host: OneHost, callers: int, until: asyncio.Event, dice: random.Random) -> int:
        """So many callers, one request after the other, some of them cancelled; returns how many were served."""
        served = 0

        async def caller() -> None:
            nonlocal served
            while not until.is_set():
                task = asyncio.ensure_future(self.visit(host, dice.random() * 0.01))
                if dice.random() < 0.2:
                    await asyncio.sleep(dice.random() * 0.01)
                    task.cancel()
                results = await asyncio.gather(task, return_exceptions=True)
                served += results == [True]
                if results != [True]:
                    await asyncio.sleep(0.001)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return served
