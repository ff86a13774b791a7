"""What happened, counted and kept: one row and one line a request, made and written off the hot path.

`Ledger` takes exchanges that have ended; `rows` says what one comes to, its cost included, and makes the store's row of
it; `lines` makes the access log's line, `alike` what
both have in common with others of their kind.
"""

from __future__ import annotations

from proxy.usage.alike import Alike
from proxy.usage.ledger import Ledger, Unwritten
from proxy.usage.lines import lines_of, stdout_log
from proxy.usage.notes import Notes
from proxy.usage.rows import Settled, pending_of, settled

__all__ = [
    "Alike",
    "Ledger",
    "Notes",
    "Settled",
    "Unwritten",
    "lines_of",
    "pending_of",
    "settled",
    "stdout_log",
]
