"""`x-ratelimit-*` on answers: how the rates of this gateway stand, in the place of the provider's.

Only where a rate applies to the request, and only for what it limits, requests or tokens: the provider's other header
lines stay. Of several rates the tightest is told.
"""

from __future__ import annotations

import re

from proxy.limits.limiter import Permit
from proxy.limits.meter import State
from proxy.limits.refusals import headers

_PROVIDERS = {
    tokens: re.compile(rb"x-ratelimit-(?:limit|remaining|reset)-" + kind + rb":[^\r\n]*\r\n", re.IGNORECASE)
    for tokens, kind in ((False, b"requests"), (True, b"tokens"))
}


def with_rates(head: bytes, *permits: Permit | None) -> bytes:
    """The header lines of an answer, with how the rates stand that these permits were taken of."""
    states = [state for permit in permits if permit is not None for state in permit.states()]
    if not states:
        return head
    tightest: dict[bool, State] = {}
    for state in states:
        known = tightest.get(state.tokens)
        if known is None or state.remaining < known.remaining:
            tightest[state.tokens] = state
    for tokens in tightest:
        head = _PROVIDERS[tokens].sub(b"", head)
    return head + "".join(f"{name}: {value}\r\n" for name, value in headers(list(tightest.values()))).encode()
