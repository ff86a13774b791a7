"""`x-ratelimit-*` on answers: how the rates of this gateway stand, in the place of the provider's.

Only where a rate applies to the request, and only for what it limits, requests or tokens: the provider's other header
lines stay. Of several rates the tightest is told.
"""

from __future__ import annotations

import re

from proxy.limits.permit import Permit
from proxy.limits.rates import UNRATED
from proxy.limits.refusals import line

_REQUESTS, _TOKENS, _BOTH = (
    re.compile(rb"\nx-ratelimit-(?:limit|remaining|reset)-(?:%b):[^\n]*(?=\n)" % kinds)
    for kinds in (b"requests", b"tokens", b"requests|tokens")
)
"""A provider's lines of these kinds, each from the end of the line before it. `headers` writes their names in lower
case."""


def with_rates(head: bytes, own: Permit | None, its: Permit | None) -> bytes:
    """The header lines of an answer, with how the rates stood when these permits, the key's own and its target's, were
    taken of them."""
    if own is None or its is None:
        requests, tokens = UNRATED if own is its else (own or its).standing  # type: ignore[union-attr]
    else:
        one, other = own.standing, its.standing
        requests, tokens = min(one[0], other[0]), min(one[1], other[1])
    if not tokens[2]:
        if not requests[2]:
            return head
        theirs, ours = _REQUESTS, line(*requests)
    elif not requests[2]:
        theirs, ours = _TOKENS, line(*tokens)
    else:
        theirs, ours = _BOTH, line(*requests) + line(*tokens)
    return theirs.sub(b"", b"\n" + head)[1:] + ours.encode()
