"""The gateway without its books, only to measure what they cost: `loopway serve`, but no request is written into the
ledger, counted by metrics or told in the log. Its target, `loopway-bare`, has no limits either.
"""

from __future__ import annotations

from proxy.__main__ import main
from proxy.exchange import Exchange
from proxy.usage import Ledger


class Bare(Ledger):
    """A ledger that forgets."""

    def put(self, x: Exchange, ended: float) -> None:
        """Keeps nothing."""
        x.ended = ended


Ledger.put = Bare.put  # type: ignore[method-assign] # the assembly makes its ledger itself

if __name__ == "__main__":
    main()
