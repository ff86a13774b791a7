"""What limits cost a chat request, in one run: CPU time of the gateway's process, and bytecodes.

    python -m loadtests.micro.limits [--redis redis://127.0.0.1:6379/0] [--at-once 64] [--seconds 2]

So many requests are in flight at any moment, as many as the key and the virtual key allow: each limit is used up. The
same limits are counted in memory and, with `--redis`, shared over that Redis, whose own time is not the gateway's.
Several rounds, each kind in each round; shown are the medians, and the median of the differences in a round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import uvloop

from loadtests.micro import rig
from loadtests.micro.count import bytecodes_of
from proxy.server import Door
from proxy.transport.upstream import Upstream
from proxy.turns import Turns

_LIMIT = "limits: {concurrency: 8192}"
_ROUNDS = 5
_RATES = "requests: {per_second: 20000, per_minute: 1000000}, tokens: {per_minute: 4000000000}"
_BUDGET = "budget: {usd: 1000000, window: monthly}"


class Crowd:
    """Clients that each ask again as soon as they are answered, and as many connections to the provider."""

    def __init__(self, made: rig.Rig, count: int) -> None:
        self._rig = made
        self._loop = asyncio.get_running_loop()
        self.sent, self._reply = rig.request("openai", "gpt-4o-mini"), rig.answer("openai")
        self._until = 0.0
        self._left = 0
        self.done = 0
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._count = count
        for target in made.gateway.live.snapshot.targets.values():
            if target.slug == "openai":
                for _ in range(count):
                    self._connect(target.origin)
        self._doors = [self._client() for _ in range(count)]

    def _client(self) -> Door:
        door = Door(self._rig.gateway.edge, self._loop)

        def answered() -> None:
            self.done += 1
            if time.monotonic() < self._until:
                self._loop.call_soon(door.data_received, self.sent)
                return
            self._left -= 1
            if not self._left:
                self._over.set_result(None)

        sock = rig.FakeSocket(answered)
        door.connection_made(sock)  # type: ignore[arg-type]
        return door

    def _connect(self, origin: object) -> None:
        pool, _, key = self._rig.gateway.transport.prepare(origin)  # type: ignore[arg-type]
        upstream = Upstream(Turns(self._loop))
        upstream.pool, upstream.key = pool, key
        sock = rig.FakeSocket(lambda: self._loop.call_soon(upstream.data_received, self._reply) and None)
        sock.protocol = upstream
        upstream.connection_made(sock)  # type: ignore[arg-type]
        pool._acquired.add(upstream)
        pool.give(key, upstream)

    async def run(self, seconds: float) -> float:
        """Microseconds of CPU for one request."""
        self._until = time.monotonic() + seconds
        self._left, self.done = self._count, 0
        self._over = self._loop.create_future()
        began = time.process_time()
        for door in self._doors:
            self._loop.call_soon(door.data_received, self.sent)
        while not self._over.done():
            await asyncio.wait((self._over,), timeout=0.1)
            self._rig.gateway.ledger._ended.clear()
        return (time.process_time() - began) / self.done * 1e6


class Case:
    """One kind of limits, and what it cost in each round."""

    def __init__(self, limits: str, redis: str | None) -> None:
        text = rig.CONFIG.replace(_LIMIT, f"limits: {{{limits}}}")
        self._config = text if redis is None else text + f"redis: {{url: '{redis}'}}\n"
        self.taken: list[float] = []
        self.bytecodes = 0.0

    async def start(self, at_once: int) -> None:
        """Makes the gateway and its clients."""
        self._rig = made = await rig.Rig.start(self._config)
        made.gateway.host.start(asyncio.get_running_loop())
        if made.gateway._keeper is not None:
            made.gateway._keeper.start()
            await asyncio.sleep(0.5)
        self._crowd = Crowd(made, at_once)
        await self._crowd.run(0.3)
        self.bytecodes = await bytecodes_of(lambda: made.exchange(self._crowd.sent, rig.answer("openai")))

    async def round(self, seconds: float) -> None:
        """One more measurement."""
        self.taken.append(await self._crowd.run(seconds))

    def above(self, other: Case) -> float:
        """How much more it cost than another one in the same round."""
        return statistics.median(one - less for one, less in zip(self.taken, other.taken, strict=True))

    async def stop(self) -> None:
        """Ends the gateway."""
        if self._rig.gateway._keeper is not None:
            await self._rig.gateway._keeper.stop()
        self._rig.gateway.host.stop()
        await self._rig.stop()


def _cases(redis: str | None, at_once: int) -> dict[str, Case]:
    kinds = {"none": "", "concurrency": f"concurrency: {at_once}"}
    kinds["concurrency, rates"] = f"{kinds['concurrency']}, {_RATES}"
    kinds["concurrency, rates, budget"] = f"{kinds['concurrency, rates']}, {_BUDGET}"
    found = {name: Case(limits, None) for name, limits in kinds.items()}
    if redis is not None:
        found |= {f"{name}; Redis": Case(limits, redis) for name, limits in kinds.items() if limits}
    return found


async def _main(redis: str | None, at_once: int, seconds: float) -> None:
    cases = _cases(redis, at_once)
    for case in cases.values():
        await case.start(at_once)
    for _ in range(_ROUNDS):
        for case in cases.values():
            await case.round(seconds)
    print("| limits of key and virtual key | us | more than none | more than in memory | bytecodes |")
    print("|---|---|---|---|---|")
    for name, case in cases.items():
        others = cases["none"], cases[name.removesuffix("; Redis")]
        shown = ["" if other is case else f"{case.above(other):+.1f}" for other in others]
        print(f"| {name} | {statistics.median(case.taken):.1f} | {' | '.join(shown)} | {case.bytecodes:.0f} |")
        await case.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(given.redis, given.at_once, given.seconds))
