"""Trying: one request, one plan, as many attempts as it allows, until an answer is worth delivering.

An attempt ends in an `Outcome`: a status to decide by, and an answer that is not yet sent. Only when no retry and no
other target follows is it delivered. So everything up to the first byte can be tried again, and nothing after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from adapters import observe
from proxy.attempt import Attempts
from proxy.cache.answers import AnswerCache
from proxy.config.facts import Facts
from proxy.config.leaf import Leaf, Steps
from proxy.config.plan import Plan
from proxy.credentials import Credentials
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.outcome import Outcome, info_lines, of_refusal
from proxy.retry import wait_before
from proxy.seams import Reply, Timeouts, Transport

_WHOLE_LIMIT = 64 << 20
_SMALL = 1 << 18  # a whole answer below this is read for its usage; larger ones only at their end


class Forwarder:
    """Runs plans. One per worker; holds no request's state."""

    def __init__(
        self,
        transport: Transport,
        timeouts: Timeouts,
        whole_limit: int = _WHOLE_LIMIT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        credentials: Credentials | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._attempts = Attempts(transport, timeouts, whole_limit, credentials)
        self._sleep = sleep
        self._cache = cache

    async def run(self, x: Exchange, plan: Plan) -> None:
        """Tries the plan and delivers the answer. Raises Refused for the gateway's own refusals; whatever else goes
        wrong upstream becomes an answer, in the client's dialect."""
        leaf = plan.single
        if leaf is None:
            outcome = await self._walk(x, plan.root.steps(Facts(x)))
        elif leaf.plain:
            outcome = await self._attempts.once(x, leaf)
        else:
            outcome = await self._asked(x, leaf, "first")
        try:
            await self._deliver(x, outcome)
        finally:
            outcome.close()

    async def _walk(self, x: Exchange, steps: Steps) -> Outcome:
        """Follows a strategy's steps to their end; returns the last outcome, the others are closed."""
        leaf: Leaf | None = next(steps)
        reason = "first"
        while True:
            assert leaf is not None
            try:
                outcome = await self._asked(x, leaf, reason)
            except Refused as refused:
                outcome = of_refusal(x, refused)
                outcome.leaf = leaf
            leaf = None if x.consumed else _following(steps, outcome.status)
            if leaf is None:
                steps.close()  # it may hold the request's body, decoded; a stream that follows may last
                return outcome
            outcome.close()
            reason = "fallback"

    async def _asked(self, x: Exchange, leaf: Leaf, reason: str) -> Outcome:
        """What a leaf answers, or the cache in its place."""
        if leaf.cache is None or self._cache is None:
            return await self._retried(x, leaf, reason)
        return await self._cache.outcome(x, leaf, lambda fx: self._retried(fx, leaf, reason), self._deliver)

    async def _retried(self, x: Exchange, leaf: Leaf, reason: str) -> Outcome:
        """Attempts at one leaf, as its policy has it."""
        tried = 0
        waited = wait = 0.0
        while True:
            outcome = await self._attempts.once(x, leaf, reason, wait)
            outcome.retries = tried
            if leaf.attempts == 0 or outcome.status not in leaf.retry_codes:
                return outcome
            next_wait = None if tried == leaf.attempts or x.consumed else wait_before(tried, waited, leaf, outcome)
            if next_wait is None:
                outcome.retries = -1
                return outcome
            outcome.close()
            wait = next_wait
            tried += 1
            waited += wait
            reason = "retry"
            await self._sleep(wait)

    async def _deliver(self, x: Exchange, outcome: Outcome) -> None:
        """Sends what an attempt has brought, to its last byte."""
        x.status = outcome.status
        x.kind = outcome.kind
        leaf = x.leaf = outcome.leaf
        x.retries = outcome.retries
        head = outcome.head if leaf is None else outcome.head + info_lines(leaf, x.retries)
        x.first_byte = monotonic()
        reply: Reply | None = outcome.reply
        body, relay = outcome.body, outcome.relay
        if body is None and relay is None:
            assert reply is not None
            body = reply.take()
            outcome.usage = observe.usage_of(body) if len(body) < _SMALL else None
        if body is not None:
            x.usage = outcome.usage
            x.committed = True
            x.client.respond(outcome.status, head, body)
            return
        assert relay is not None
        outcome.head = b""
        x.let_go()
        try:
            await relay.deliver(outcome.status, head)
        finally:
            x.usage = outcome.usage = relay.usage


def _following(steps: Steps, status: int) -> Leaf | None:
    try:
        return steps.send(status)
    except StopIteration:
        return None
