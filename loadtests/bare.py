"""The gateway without its books, only to measure what they cost: `loopway serve`, but no request is written into the
ledger or counted by metrics, nor told in the log unless `LOADTEST_LOG` is set. Its targets, `loopway-bare` and
`loopway-log`, have no limits either.
"""

from __future__ import annotations

import os

from proxy.__main__ import main
from proxy.exchange import Exchange
from proxy.usage import Ledger
from proxy.usage_columns import Row


def _forget(ledger: Ledger, x: Exchange, ended: float) -> None:
    x.ended = ended


def _forget_rows(ledger: Ledger, rows: list[Row]) -> None:
    ledger.sinks.clear()  # the first row comes before any of them is asked


if __name__ == "__main__":
    # The assembly makes its ledger itself.
    if "LOADTEST_LOG" in os.environ:
        Ledger._keep_in_memory = _forget_rows  # type: ignore[method-assign]
    else:
        Ledger.put = _forget  # type: ignore[method-assign]
    main()
