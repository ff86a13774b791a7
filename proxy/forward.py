"""Trying: one request, one plan, as many attempts as it allows, until an answer is worth delivering.

An attempt ends in an `Outcome`: a status to decide by, and an answer that is not yet sent. Only when no retry and no
other target follows is it delivered. So everything up to the first byte can be tried again, and nothing after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic

from adapters import counting
from adapters.errors import Kind
from proxy import race, resume
from proxy.attempt import Attempts
from proxy.cache.answers import AnswerCache
from proxy.config.facts import Facts
from proxy.config.leaf import Leaf, Race, Steps
from proxy.config.plan import Fallback, Plan
from proxy.credentials import Credentials
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.limits import UNRATED, with_rates
from proxy.outcome import SMALL, Outcome, Relay, info_lines, of_refusal, tried_enough
from proxy.relay import Events
from proxy.retry import wait_before
from proxy.seams import Reply, Timeouts, Transport

_WHOLE_LIMIT = 64 << 20
_NONE: Mapping[Leaf, tuple[Leaf, ...]] = {}


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
        clock: Callable[[], float] = monotonic,
        count_streams: bool = False,
    ) -> None:
        self._attempts = Attempts(transport, timeouts, whole_limit, credentials, clock, count_streams)
        self._sleep = sleep
        self._cache = cache
        self._clock = clock

    async def run(self, x: Exchange, plan: Plan) -> None:
        """Tries the plan and delivers the answer. Raises Refused for the gateway's own refusals; whatever else goes
        wrong upstream becomes an answer, in the client's dialect."""
        leaf = plan.single
        if leaf is None:
            # Most plans come to a row of targets, or to one: those need no iterator, and a row need ask nothing.
            row = plan.row
            if row is not None and (not plan.guarded or plan.well(self._clock())):
                outcome = await self._descend(x, row, row.flat)
            else:
                outcome = await self._planned(x, plan)
        elif leaf.plain:
            outcome = await self._attempts.once(x, leaf)
        elif leaf.cache is None:
            outcome = await self._retried(x, leaf, "first")
        else:
            outcome = await self._asked(x, leaf, "first")
        try:
            rest = self._deliver(x, outcome, plan.after)
            if rest is not None:
                await rest
        finally:
            outcome.close()

    async def _planned(self, x: Exchange, plan: Plan) -> Outcome:
        """What a plan with strategies comes to."""
        facts = Facts(x, self._clock())
        left_out = plan.guard(facts) if plan.guarded else b""
        step = plan.root.settle(facts)
        if isinstance(step, Leaf):
            outcome = await self._leaf(x, step, "first")
        elif isinstance(step, Fallback) and step.flat:
            outcome = await self._descend(x, step, step.ladder(facts))
        else:
            outcome = await self._walk(x, step.steps(facts))
        if left_out:
            outcome.head += left_out
        return outcome

    async def _descend(self, x: Exchange, fallback: Fallback, leaves: Sequence[Leaf]) -> Outcome:
        """Follows a fallback whose targets are leaves; returns the last outcome, the others are closed."""
        first = leaves[0]
        if first.cache is None:
            # `_leaf`, without a call of its own for what most requests come to.
            try:
                outcome = await self._attempts.once(x, first)
                if first.attempts and outcome.status in first.retry_codes:
                    outcome = await self._again(x, first, outcome)
            except Refused as refused:
                outcome = _refused(x, first, refused)
        else:
            outcome = await self._leaf(x, first, "first")
        for leaf in leaves[1:]:
            if x.consumed or not fallback.again(outcome.status):
                break
            outcome.close()
            outcome = await self._leaf(x, leaf, "fallback")
        return outcome

    async def _walk(self, x: Exchange, steps: Steps, reason: str = "first") -> Outcome:
        """Follows a strategy's steps to their end; returns the last outcome, the others are closed. `reason` is why
        the first attempt is made."""
        step: Leaf | Race | None = next(steps)
        while step is not None:
            if isinstance(step, Leaf):
                outcome = await self._leaf(x, step, reason)
            else:
                outcome = await race.run(x, step, self._walk, reason)
            step = None if x.consumed else _following(steps, outcome.status)
            if step is not None:
                outcome.close()
            reason = "fallback"
        steps.close()  # it may hold the request's body, decoded; a stream that follows may last
        return outcome

    async def _leaf(self, x: Exchange, leaf: Leaf, reason: str) -> Outcome:
        """What a plan's leaf comes to; a target that may not be used ends like one that answered so."""
        try:
            if leaf.cache is not None:
                return await self._asked(x, leaf, reason)
            # `_retried`, without a call for what goes well.
            outcome = await self._attempts.once(x, leaf, reason)
            if leaf.attempts and outcome.status in leaf.retry_codes:
                outcome = await self._again(x, leaf, outcome)
            return outcome
        except Refused as refused:
            return _refused(x, leaf, refused)

    async def _asked(self, x: Exchange, leaf: Leaf, reason: str) -> Outcome:
        """What a leaf answers, or the cache in its place."""
        if self._cache is None:
            return await self._retried(x, leaf, reason)
        return await self._cache.outcome(x, leaf, lambda fx: self._retried(fx, leaf, reason), self._delivered)

    async def _retried(self, x: Exchange, leaf: Leaf, reason: str) -> Outcome:
        """Attempts at one leaf, as its policy has it."""
        outcome = await self._attempts.once(x, leaf, reason)
        return await self._again(x, leaf, outcome) if leaf.attempts else outcome

    async def _again(self, x: Exchange, leaf: Leaf, outcome: Outcome) -> Outcome:
        """From how the first attempt ended to how the last one did."""
        tried, waited = 0, 0.0
        while outcome.status in leaf.retry_codes:
            wait = wait_before(x, leaf, outcome, tried, waited, self._clock())
            if wait is None:
                outcome.retries = -1
                break
            outcome.close()
            tried += 1
            waited += wait
            await self._sleep(wait)
            outcome = await self._attempts.once(x, leaf, "retry", wait)
            outcome.retries = tried
        return outcome

    async def _delivered(self, x: Exchange, outcome: Outcome) -> None:
        """Sends what an attempt has brought, to its last byte."""
        rest = self._deliver(x, outcome)
        if rest is not None:
            await rest

    def _deliver(
        self, x: Exchange, outcome: Outcome, after: Mapping[Leaf, tuple[Leaf, ...]] = _NONE
    ) -> Awaitable[None] | None:
        """Sends what an attempt has brought; None when that is all, else what sends the rest. `after`: who may go on
        with whose stream."""
        x.status = outcome.status
        x.kind = outcome.kind
        leaf = x.leaf = outcome.leaf
        x.retries = outcome.retries
        head = outcome.head
        if outcome.status >= 400 and len(x.attempts) > 1:
            head = tried_enough(head)
        if leaf is not None:
            head += info_lines(leaf, x.retries)
        own, its = x.permit, outcome.permit
        if (own is not None and own.standing is not UNRATED) or (its is not None and its.standing is not UNRATED):
            head = with_rates(head, own, its)
        x.first_byte = monotonic()
        relay = outcome.relay
        if relay is not None:
            outcome.head = head
            return self._relay(x, outcome, relay, after)
        body = outcome.body
        if body is None:
            assert outcome.reply is not None
            body = outcome.reply.take()
            outcome.usage = counting.usage_of(body) if len(body) < SMALL else None
        x.usage = outcome.usage
        x.committed = True
        x.client.respond(outcome.status, head, body)
        return None

    async def _relay(self, x: Exchange, outcome: Outcome, relay: Relay, after: Mapping[Leaf, tuple[Leaf, ...]]) -> None:
        """Sends an answer whose body follows, to its last byte."""
        leaf, reply = outcome.leaf, outcome.reply
        if outcome.shown is not None:
            x.status = outcome.shown
        following = after.get(leaf, ()) if after and leaf is not None else ()
        continued = isinstance(relay, Events) and resume.possible(x, following, relay)
        if not continued:
            x.let_go()
        expiry = None if leaf is None or leaf.total is None else self._expire(x, leaf.total, reply)
        try:
            if continued and isinstance(relay, Events):
                await resume.deliver(x, relay, x.status, outcome.head, following, self._attempts)
            else:
                over = relay.deliver(x.status, outcome.head)
                outcome.head = b""  # an answer may last; half a kilobyte of its head need not
                await over
        finally:
            outcome.usage = relay.usage
            if relay.fault is not None:
                outcome.broke(x, relay.fault, self._clock())
            if not continued:
                x.usage = outcome.usage
            if expiry is not None:
                expiry.cancel()

    def _expire(self, x: Exchange, total: float, reply: Reply | None) -> asyncio.TimerHandle:
        """Ends an answer that is still on its way when its request's whole time is over."""
        assert reply is not None
        failure = UpstreamFailure(Kind.TIMEOUT, f"The answer took longer than {round(total * 1000)} ms.", sent=True)
        left = max(0.0, total - (self._clock() - x.started))
        return asyncio.get_running_loop().call_later(left, reply.cut, failure)


def _refused(x: Exchange, leaf: Leaf, refused: Refused) -> Outcome:
    """A target that may not be used ends like one that answered so."""
    outcome = of_refusal(x, refused)
    outcome.leaf = leaf
    return outcome


def _following(steps: Steps, status: int) -> Leaf | Race | None:
    try:
        return steps.send(status)
    except StopIteration:
        return None
