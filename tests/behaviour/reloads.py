"""A configuration file that changes again and again under load: no request fails, and no memory stays behind.

    python -m tests.behaviour.reloads --times 1000 --rate 100 --streams 20

Every change is a whole new file: other texts of the same keys, other limits and notes, another config; every tenth is
one that cannot be used. `--keys` is how many virtual keys and API keys it has. The next change comes when all workers
have said that they read this one. It prints what it saw as JSON: requests and failures, the resident memory
of all workers after a tenth of the changes and at the end (MB), and how late the workers' event loops were in
milliseconds, before the first change and during them: what 99 and 99.9 % of ten beats a second stayed below, and the
share of beats that came more than 50 ms late. On a machine that does other things too, the first of the two says how
much of the second is the machine's. Exits with 1 if a request failed or a change was not read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

from tests.behaviour.rolling import Load, until
from tests.behaviour.stand import stand
from tests.fakes.gateway import Gateway, standard, virtual_key

_TAKEN, _REFUSED = "the configuration file was read again", "was changed but cannot be used"
_BAD = 10  # every so many


def changed(url: str, number: int, keys: int = 20) -> dict[str, Any] | str:
    """The file of one change, with so many virtual keys and API keys."""
    if number % _BAD == _BAD - 1:
        return f"virtual_keys: [{{slug: x-{number}, provider: nobody}}]\n"
    config = standard(url) | {"logs": {"level": "warning", "access": False}}
    config["virtual_keys"] += [
        virtual_key(f"more-{each}", "openai", url, note=f"change {number}") for each in range(keys)
    ]
    config["api_keys"] += [
        {"name": f"n-{each}", "key": f"lw-{number}-{each}", "limits": {"concurrency": 1 + number % 7}}
        for each in range(keys)
    ]
    targets = [{"virtual_key": f"more-{(number + each) % 20}"} for each in range(5)]
    config["configs"].append({"slug": "pc-moving", "config": {"strategy": {"mode": "fallback"}, "targets": targets}})
    return config


def memory(gateway: Gateway) -> float:
    """The resident memory of all workers, in MB."""
    kilobytes = 0
    for pid in gateway.workers():
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes += int(status.partition("VmRSS:")[2].split()[0])
    return kilobytes / 1024


def beats(gateway: Gateway) -> dict[float, float]:
    """How many beats of the event loops came at most so late (seconds), so far."""
    counts = {}
    for line in gateway.get("/metrics").text.splitlines():
        if line.startswith("loopway_event_loop_lag_seconds_bucket"):
            counts[float(line.partition('le="')[2].partition('"')[0])] = float(line.split()[-1])
    return counts


def lag(before: dict[float, float], after: dict[float, float]) -> dict[str, float | None]:
    """Of the beats in between: what 99 and 99.9 % stayed below (ms; None: more than a second), and the share beyond
    50 ms."""
    counts = {edge: after[edge] - before[edge] for edge in after}
    total = counts[math.inf] or 1.0

    def below(share: float) -> float | None:
        edge = next(edge for edge, count in sorted(counts.items()) if count >= share * total)
        return None if edge == math.inf else edge * 1000

    return {"p99_ms": below(0.99), "p999_ms": below(0.999), "over_50ms": round(1 - counts[0.05] / total, 5)}


async def drive(
    gateway: Gateway, url: str, times: int, workers: int, load: Load, *, keys: int = 20, calm: float = 0.5
) -> dict[str, Any]:
    """The whole run; `calm` is how long nothing changes at first (seconds)."""
    running = asyncio.create_task(load.run())
    began = await asyncio.to_thread(beats, gateway)
    await asyncio.sleep(calm)
    changing = await asyncio.to_thread(beats, gateway)
    seen = {"good": 0, "bad": 0}
    early = 0.0
    for number in range(times):
        config = changed(url, number, keys)
        seen["bad" if isinstance(config, str) else "good"] += 1
        gateway.write(config)
        word, count = (_REFUSED, seen["bad"]) if isinstance(config, str) else (_TAKEN, seen["good"])
        await until(lambda word=word, count=count: gateway.log().count(word) >= count * workers, f"change {number}")
        if number == times // 10:
            early = memory(gateway)
    over = await asyncio.to_thread(beats, gateway)
    load.stop()
    await running
    return {
        "reloads": times,
        "refused": seen["bad"],
        **load.report(),
        "memory_mb": [round(early, 1), round(memory(gateway), 1)],
        "lag_before": lag(began, changing),
        "lag": lag(changing, over),
    }


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--calm", type=float, default=20.0, help="seconds before the first change")
    given = parser.parse_args()
    with stand(given.workers) as (gateway, url):
        load = Load(gateway.port, given.rate, given.streams)
        run = drive(gateway, url, given.times, given.workers, load, keys=given.keys, calm=given.calm)
        found = asyncio.run(run)
    print(json.dumps(found))
    return int(found["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
