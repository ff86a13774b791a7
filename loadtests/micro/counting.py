"""`python -m loadtests.micro.counting`: microseconds that metrics cost a request, all of them together."""

from __future__ import annotations

import statistics
import time

from adapters.types import Dialect, Usage
from proxy.exchange import Attempt, Exchange
from proxy.metrics import Metrics
from proxy.usage import Settled, settled

_BATCH = 1000
_ROUNDS = 60


def record() -> Settled:
    """What is kept of a stream that went well at the first try."""
    x = Exchange(None, None, "POST", "/v1/chat/completions", "", {}, (), "r1", "r1", 100.0)  # type: ignore[arg-type]
    x.dialect, x.status, x.streamed, x.read, x.upstream, x.first_byte = (
        Dialect.OPENAI_CHAT,
        200,
        True,
        100.1,
        0.3,
        100.5,
    )
    x.usage = Usage(187, 92)
    x.attempts = [Attempt("openai", "config", 200, None, 0.4, provider="openai")]
    return settled(x, 102.0)


def main() -> None:
    """Prints the best and the median of several rounds."""
    counted, batch, rounds = Metrics(), [record() for _ in range(_BATCH)], []
    for _ in range(_ROUNDS):
        began = time.process_time()
        counted.count(batch)
        rounds.append((time.process_time() - began) / _BATCH * 1e6)
    print(f"counting a stream: {min(rounds):.2f} µs at best, {statistics.median(rounds):.2f} µs at the median")


if __name__ == "__main__":
    main()
