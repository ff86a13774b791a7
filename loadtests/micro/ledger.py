"""What the ledger costs a request, after its answer: microseconds of CPU, and bytes that the database writes.

    python -m loadtests.micro.ledger [--rows 100000] [--batch 250] [--traced]

A chat that went well at the first try, through a gateway whose sockets are objects, is put into the ledger again and
again, under ids as a worker gives them: its row, in Python, then the rows into a new SQLite database, so many in a
transaction (250: a worker with a thousand requests a second), until it has so many. With `--traced` every request has a
trace id of its client's.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from loadtests.micro import rig
from proxy.exchange import Exchange
from proxy.store import ledger as jobs
from proxy.store.engine import Lane
from proxy.store.migrate import migrate
from proxy.store.sqlite import SqliteEngine
from proxy.usage.rows import Settled, settled

P = ParamSpec("P")
T = TypeVar("T")


async def _exchange() -> Exchange:
    """A settled chat."""
    made = await rig.Rig.start()
    found: list[Exchange] = []
    made.gateway.ledger.put = lambda x, ended: found.append(x)  # type: ignore[method-assign]
    try:
        await made.exchange(rig.request("openai", "gpt-4o-mini"), rig.answer("openai"))
        return msgspec.structs.replace(found[0], ended=time.monotonic())
    finally:
        await made.stop()


def _settle(done: list[Exchange]) -> list[Settled]:
    return [settled(x, x.ended) for x in done]


class Costs:
    """The seconds that steps took, batch by batch."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    def timed(self, name: str, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a job and keeps how much CPU it took."""
        began = time.process_time()
        found = job(*args, **kwargs)
        self.taken.setdefault(name, []).append(time.process_time() - began)
        return found

    def show(self, batch: int) -> None:
        """Prints microseconds a request: the mean, and the mean of the cheapest tenth, which is less the machine's."""
        print("| step | us, mean | us, cheapest tenth |\n|---|---|---|")
        sums = [0.0, 0.0]
        for name, taken in self.taken.items():
            tenth = sorted(taken)[: max(1, len(taken) // 10)]
            found = [sum(part) / len(part) / batch * 1e6 for part in (taken, tenth)]
            sums = [whole + part for whole, part in zip(sums, found, strict=True)]
            print(f"| {name} | {found[0]:.2f} | {found[1]:.2f} |")
        print(f"| together | {sums[0]:.2f} | {sums[1]:.2f} |")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--traced", action="store_true")
    given = parser.parse_args()
    one, prefix, costs = asyncio.run(_exchange()), secrets.token_hex(8), Costs()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loopway.db"
        migrate(path)
        lane = Lane(SqliteEngine(path), "ledger")
        lane.now(jobs.append, [])
        for start in range(0, given.rows, given.batch):
            done = []
            for number in range(start, start + given.batch):
                id = f"{prefix}{number:016x}"
                trace = secrets.token_hex(16) if given.traced else id
                done.append(msgspec.structs.replace(one, request_id=id, trace_id=trace, at=one.at + number / 1000))
            kept = costs.timed("what it comes to, as a row", _settle, done)
            costs.timed("into SQLite", lane.now, jobs.append, [one.row for one in kept])
        lane.close_now()
        size = path.stat().st_size
    costs.show(given.batch)
    print(f"{size / given.rows:.0f} bytes a row")


if __name__ == "__main__":
    main()
