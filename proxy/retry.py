"""When the same target is tried again, and how much time a request has for all of it."""

from __future__ import annotations

import random

from adapters.errors import Kind
from proxy.config.leaf import Leaf
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.outcome import Outcome

_CAP = 60.0


def wait_before(x: Exchange, leaf: Leaf, outcome: Outcome, tried: int, waited: float, now: float) -> float | None:
    """Seconds before the next try at the same target, or None: it is not tried again.

    The schedule is 1, 2, 4 … times the base, ± 20 %. For a 429 it is what the provider asked for, where the config
    wants that; but a minute or more, in one or in sum, is not waited. `tried` counts the retries made, `waited` are the
    seconds of all waits before. A retry needs time left, an upstream whose budget of retries is not spent, and one that
    was not found dead meanwhile.
    """
    if tried == leaf.attempts or x.consumed:
        return None
    asked = outcome.retry_after
    if leaf.use_retry_after and asked is not None and outcome.status == 429:
        if asked >= _CAP or waited + asked > _CAP:
            return None
        wait = asked
    else:
        wait = leaf.base_wait * 2**tried * random.uniform(0.8, 1.2)
    if leaf.total is not None and now - x.started + wait >= leaf.total:
        return None
    if leaf.circuit is not None and not leaf.circuit.allows(now):
        return None
    return wait if leaf.health is None or leaf.health.budget.take(now, now + wait) else None


def time_left(x: Exchange, leaf: Leaf, now: float) -> float:
    """Seconds left of `total_timeout`, which runs from the request's head. Raises Refused (504) when it is over."""
    assert leaf.total is not None
    left = leaf.total - (now - x.started)
    if left <= 0:
        raise too_late(leaf)
    return left


def too_late(leaf: Leaf) -> Refused:
    """The answer to a request whose `total_timeout` is over."""
    message = f"The request took longer than its total_timeout of {round((leaf.total or 0) * 1000)} ms."
    return Refused(Kind.TIMEOUT, message, code="total_timeout")
