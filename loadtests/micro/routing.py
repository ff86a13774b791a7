"""`python -m loadtests.micro.routing`: what following a config costs a chat request more than a virtual key does.

Paths take turns, so that whatever else the machine does falls on all of them; the best of many turns counts. Of two
gateways in one process the first never hears of a circuit breaker: that one has the request without a config.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from loadtests.micro.count import bytecodes_of
from loadtests.micro.rig import INLINE, Rig, answer, request

_BATCH = 150
_ROUNDS = 150
_CONFIGS = {
    "a saved config, single": "pc-single",
    "fallback": "pc-fallback",
    "fallback in 2 KB inline, seen before": INLINE,
    "conditional with a regular expression": "pc-conditional",
    "fallback with circuit breakers and retries": "pc-breaker",
}


async def main() -> None:
    """Prints a table: bytecodes and microseconds of CPU, both as differences to the request without a config."""
    bare, rig = await Rig.start(), await Rig.start()
    reply = answer("openai")
    without = request("openai", "gpt-4o-mini")
    cases = {name: request("", "gpt-4o-mini", config=config) for name, config in _CONFIGS.items()}
    counts = {name: await bytecodes_of(lambda sent=sent: rig.exchange(sent, reply)) for name, sent in cases.items()}  # type: ignore[misc]
    least = await bytecodes_of(lambda: bare.exchange(without, reply))
    best = dict.fromkeys(cases, float("inf"))
    base = float("inf")
    for _ in range(_ROUNDS):
        base = min(base, await _once(bare, without, reply))
        for name, sent in cases.items():
            best[name] = min(best[name], await _once(rig, sent, reply))
    print(
        f"without a config: {base:.1f} µs, {least:.0f} bytecodes\n\n"
        "| config | µs more | bytecodes more |\n|---|---|---|"
    )
    for name in cases:
        print(f"| {name} | {best[name] - base:+.1f} | {counts[name] - least:+.0f} |")
    await bare.stop()
    await rig.stop()


async def _once(rig: Rig, sent: bytes, reply: bytes) -> float:
    """Microseconds for one request, the mean of a batch."""
    began = time.process_time()
    for _ in range(_BATCH):
        await rig.exchange(sent, reply)
    return (time.process_time() - began) / _BATCH * 1e6


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    sys.exit(0)
