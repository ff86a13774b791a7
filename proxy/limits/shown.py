"""`x-ratelimit-*` on answers: how the rates of this gateway stand, in the place of the provider's.

Only where a rate applies to the request, and only for what it limits, requests or tokens: the provider's other header
lines stay. Of several rates the tightest is told.
"""

from __future__ import annotations

import re
from time import monotonic

from proxy.limits.limiter import Permit
from proxy.limits.rates import Found
from proxy.limits.refusals import line

_REQUESTS, _TOKENS, _BOTH = (
    re.compile(rb"\nx-ratelimit-(?:limit|remaining|reset)-(?:%b):[^\n]*(?=\n)" % kinds)
    for kinds in (b"requests", b"tokens", b"requests|tokens")
)
"""A provider's lines of these kinds, each from the end of the line before it. `headers` writes their names in lower
case."""


def with_rates(head: bytes, *permits: Permit | None) -> bytes:
    """The header lines of an answer, with how the rates stand that these permits were taken of."""
    tightest: list[Found | None] = [None, None]
    now = monotonic()
    for permit in permits:
        while permit is not None:
            meter = permit.meter
            if meter is not None and permit.place:
                meter.look(now, tightest)
            permit = permit.more
    requests, tokens = tightest
    if tokens is None:
        if requests is None:
            return head
        theirs, ours = _REQUESTS, line(*requests)
    elif requests is None:
        theirs, ours = _TOKENS, line(*tokens)
    else:
        theirs, ours = _BOTH, line(*requests) + line(*tokens)
    return theirs.sub(b"", b"\n" + head)[1:] + ours.encode()
