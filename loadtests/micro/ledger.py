"""What the ledger costs a request, after its answer: microseconds of CPU, and bytes that the database writes.

    python -m loadtests.micro.ledger [--rows 100000] [--batch 250] [--traced]

A chat that went well at the first try, through a gateway whose sockets are objects, is put into the ledger again and
again, under ids as a worker gives them: first what it comes to and its row, in Python, then the rows into a new SQLite
database, so many in a transaction (250: a worker with a thousand requests a second), until it has so many. With
`--traced` every request has a trace id of its client's.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from collections import deque
from pathlib import Path

import msgspec

from loadtests.micro import rig
from proxy.exchange import Exchange
from proxy.store import ledger as jobs
from proxy.store.engine import Lane
from proxy.store.migrate import migrate
from proxy.store.sqlite import SqliteEngine
from proxy.usage.rows import Record, record_of, settled


class _Kept(deque[Exchange]):
    """What the rig cannot throw away."""

    def clear(self) -> None: ...


async def _exchange() -> Exchange:
    """A settled chat."""
    made = await rig.Rig.start()
    made.gateway.ledger._waiting = _Kept()
    try:
        await made.exchange(rig.request("openai", "gpt-4o-mini"), rig.answer("openai"))
        return made.gateway.ledger._waiting[-1]
    finally:
        await made.stop()


def _build(done: list[Exchange]) -> tuple[list[Record], float, float]:
    """The rows of settled exchanges, and the seconds that it took to settle them and to make the rows."""
    began = time.process_time()
    kept = [settled(x, x.ended) for x in done]
    between = time.process_time()
    rows = list(map(record_of, kept))
    return rows, between - began, time.process_time() - between


def _append(folder: Path, batches: list[list[Record]]) -> tuple[float, float, int]:
    """Seconds that the appending of all batches took, those of the cheapest tenth of them, and the file's bytes."""
    path = folder / "loopway.db"
    migrate(path)
    lane = Lane(SqliteEngine(path), "ledger")
    lane.now(jobs.append, batches[0])
    taken = []
    for batch in batches[1:]:
        began = time.process_time()
        lane.now(jobs.append, batch)
        taken.append(time.process_time() - began)
    lane.close_now()
    taken.sort()
    tenth = max(1, len(taken) // 10)
    return sum(taken) / len(taken), sum(taken[:tenth]) / tenth, path.stat().st_size


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--traced", action="store_true")
    given = parser.parse_args()
    one, prefix = asyncio.run(_exchange()), secrets.token_hex(8)
    batches, settling, building = [], [], []
    for start in range(0, given.rows, given.batch):
        done = []
        for number in range(start, start + given.batch):
            id = f"{prefix}{number:016x}"
            trace = secrets.token_hex(16) if given.traced else id
            done.append(msgspec.structs.replace(one, request_id=id, trace_id=trace, at=one.at + number / 1000))
        rows, settle, build = _build(done)
        batches.append(rows)
        settling.append(settle / given.batch * 1e6)
        building.append(build / given.batch * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        mean, least, size = _append(Path(folder), batches)
    count = len(batches)
    store = mean / given.batch * 1e6
    print(f"what it comes to: {sum(settling) / count:.2f} us at the mean, {min(settling):.2f} at best")
    print(f"its row:          {sum(building) / count:.2f} us at the mean, {min(building):.2f} at best")
    print(f"into SQLite:      {store:.2f} us at the mean, {least / given.batch * 1e6:.2f} in the cheapest tenth")
    print(f"together:         {(sum(settling) + sum(building)) / count + store:.2f} us at the mean")
    print(f"the database:     {size / given.rows:.0f} bytes a row")


if __name__ == "__main__":
    main()
