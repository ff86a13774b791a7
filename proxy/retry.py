"""When the same target is tried again."""

from __future__ import annotations

import random

from proxy.config.leaf import Leaf
from proxy.outcome import Outcome

_CAP = 60.0
_BASE = 1.0


def wait_before(tried: int, waited: float, leaf: Leaf, outcome: Outcome) -> float | None:
    """Seconds before the next try: 1, 2, 4 … ± 20 %, or what the provider asked for. None: do not try again.

    `tried` counts the retries made, `waited` are the seconds of all waits before.
    """
    if leaf.use_retry_after and outcome.retry_after is not None and outcome.status == 429:
        return outcome.retry_after if waited + outcome.retry_after < _CAP else None
    return _BASE * float(2**tried) * random.uniform(0.8, 1.2)
