"""`python -m loadtests.micro`: microseconds of Python for each path, sockets left out."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time

import uvloop

from loadtests.micro.rig import INLINE, Rig, answer, request, stream_parts

_BATCH = 400
_ROUNDS = 15


async def main() -> None:
    """Prints a table: the best and the median of several rounds."""
    rig = await Rig.start()
    plain = request("openai", "gpt-4o-mini")
    foreign = request("anthropic", "claude-3-5-sonnet")
    cases = {
        "chat, verbatim": (plain, answer("openai")),
        "chat, 100 KB prompt": (request("openai", "gpt-4o-mini", size=100_000), answer("openai")),
        "chat to Anthropic": (foreign, answer("anthropic")),
    }
    cases |= {
        f"chat, config {name}": (request("", "gpt-4o-mini", config=f"pc-{name}"), answer("openai"))
        for name in ("single", "fallback", "breaker", "conditional")
    }
    cases["chat, 2 KB inline config"] = (request("", "gpt-4o-mini", config=INLINE), answer("openai"))
    kept = request("", "gpt-4o-mini", config="pc-cached")
    cases["chat, cache hit"] = (kept, answer("openai"))
    cases["stream, cache hit"] = (request("", "gpt-4o-mini", config="pc-cached", stream=True), answer("openai"))
    cases["chat, cache miss"] = (kept, answer("openai"))
    asked = itertools.count(1)
    print("| path | µs, best | µs, median |\n|---|---|---|")
    for name, (sent, reply) in cases.items():
        got = await rig.exchange(sent, reply)
        assert got.startswith(b"HTTP/1.1 200"), got[:200]
        rounds = []
        for _ in range(_ROUNDS):
            began = time.process_time()
            for _ in range(_BATCH):
                if name == "chat, cache miss":
                    sent = kept.replace(b"A gateway sits", b"%014d" % next(asked), 1)
                await rig.exchange(sent, reply)
            rounds.append((time.process_time() - began) / _BATCH * 1e6)
        print(f"| {name} | {min(rounds):.1f} | {statistics.median(rounds):.1f} |")
    for name, slug, model, dialect in (
        ("event, verbatim", "openai", "gpt-4o-mini", "openai"),
        ("event from Anthropic", "anthropic", "claude-3-5-sonnet", "anthropic"),
    ):
        head, text, last = stream_parts(dialect)
        rounds = []
        for _ in range(_ROUNDS):
            await rig.exchange(request(slug, model, stream=True), head)
            began = time.process_time()
            for _ in range(_BATCH):
                rig.feed(text)
            rounds.append((time.process_time() - began) / _BATCH * 1e6)
            rig.feed(last)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        print(f"| {name} | {min(rounds):.2f} | {statistics.median(rounds):.2f} |")
    await rig.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    sys.exit(0)
