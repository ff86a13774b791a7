"""What the books cost a chat, sockets left out: limits, metrics, the access log, and the ledger with its database.

    python -m loadtests.micro.books [--rounds 15] [--chats 1000]

Two gateways in one process take turns, one with its books and one without any (as `loadtests.bare` has it). What is
shown is the CPU time of the process, that of the thread which writes rows included. Rows go to the database as often as
a worker with so many chats in a quarter of a second writes them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import IO

import uvloop

from loadtests.micro.rig import CONFIG, Rig, answer, request
from proxy.exchange import Exchange
from proxy.store import ledger as jobs
from proxy.store.engine import Lane
from proxy.store.migrate import migrate
from proxy.store.sqlite import SqliteEngine
from proxy.usage_columns import Row

_LIMITS = (",\n      limits: {concurrency: 8192}", ", limits: {concurrency: 8192}")


def _forget(x: Exchange, ended: float) -> None:
    x.ended = ended


async def _without() -> Rig:
    text = CONFIG
    for limit in _LIMITS:
        text = text.replace(limit, "")
    made = await Rig.start(text)
    made.gateway.ledger.put = _forget  # type: ignore[method-assign]
    return made


async def _with(folder: Path, log: IO[bytes]) -> Rig:
    made = await Rig.start(CONFIG)
    migrate(folder / "loopway.db")
    lane = Lane(SqliteEngine(folder / "loopway.db"), "ledger")

    async def append(rows: list[Row]) -> None:
        await lane.run(jobs.append, rows)

    made.gateway.host.start(asyncio.get_running_loop())
    made.gateway.ledger._append = append
    made.gateway.ledger._log = log
    return made


async def _round(made: Rig, chats: int) -> float:
    """Microseconds of CPU for one chat."""
    sent, reply = request("openai", "gpt-4o-mini"), answer("openai")
    began = time.process_time()
    for _ in range(chats):
        await made.exchange(sent, reply, keep=True)
    await made.gateway.ledger.flush(last=True)
    return (time.process_time() - began) / chats * 1e6


async def main(rounds: int, chats: int) -> None:
    """Prints both, and the difference."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb") as log:
        bare, full = await _without(), await _with(Path(folder), log)
        for made in (bare, full):
            await _round(made, chats)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        pairs = [(await _round(bare, chats), await _round(full, chats)) for _ in range(rounds)]
        await bare.stop()
        await full.stop()
    less, more = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
    print(f"without books {less:.1f} us, with them {more:.1f} us a chat", end=": ")
    print(f"{statistics.median(pair[1] - pair[0] for pair in pairs):+.1f} us, the median of {rounds} rounds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--chats", type=int, default=1000)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(given.rounds, given.chats))
