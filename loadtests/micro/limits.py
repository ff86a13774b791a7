"""What limits cost a chat request: bytecodes and CPU time with and without them, in one run.

    python -m loadtests.micro.limits [--redis redis://127.0.0.1:6379/0]

The key and the virtual key both have a limit of concurrency; with `--redis` it is shared over that Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from loadtests.micro import rig
from loadtests.micro.count import bytecodes_of

_LIMIT = "limits: {concurrency: 8192}"
_TURNS, _ROUNDS = 1000, 9


async def _measure(config: str) -> tuple[float, float]:
    """Bytecodes and microseconds of CPU for one request."""
    made = await rig.Rig.start(config)
    try:
        sent, reply = rig.request("openai", "gpt-4o-mini"), rig.answer("openai")
        keeper = made.gateway._keeper
        if keeper is not None:
            made.gateway.host.start(asyncio.get_running_loop())
            keeper.start()
            await asyncio.sleep(0.5)
        for _ in range(300):
            await made.exchange(sent, reply)
        count = await bytecodes_of(lambda: made.exchange(sent, reply))
        best = float("inf")
        for _ in range(_ROUNDS):
            began = time.process_time()
            for _ in range(_TURNS):
                await made.exchange(sent, reply)
            best = min(best, (time.process_time() - began) / _TURNS * 1e6)
        return count, best
    finally:
        await made.stop()


async def _main(redis: str | None) -> None:
    without = rig.CONFIG.replace(f",\n      {_LIMIT}", "").replace(f", {_LIMIT}", "")
    kinds = {"without limits": without, "with limits": rig.CONFIG}
    if redis is not None:
        kinds["with limits over Redis"] = rig.CONFIG + f"redis: {{url: '{redis}'}}\n"
    base = 0.0
    for name, config in kinds.items():
        count, best = await _measure(config)
        base = base or best
        print(f"{name}: {count:.0f} bytecodes, {best:.1f} us, {best - base:+.1f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis")
    asyncio.run(_main(parser.parse_args().redis))
