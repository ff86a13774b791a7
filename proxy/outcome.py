"""How attempts end, and what an ending says to the client: heads and bodies of answers that are not yet sent."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from email.utils import parsedate_to_datetime
from math import ceil
from time import time
from typing import Protocol

import msgspec

from adapters import errors, estimate
from adapters.errors import TRAITS, InvalidRequest, Kind, UpstreamError
from adapters.types import Dialect, Usage
from adapters.unsaid import together
from proxy.config.leaf import Leaf
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.health import Health, Visit
from proxy.limits import Permit
from proxy.seams import Reply

JSON = b"content-type: application/json\r\n"
SMALL = 1 << 18
"""A whole answer below this is read for its usage; larger ones only at their end."""
_NUMBER = re.compile(rb"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.,\[\]-]")


class Relay(Protocol):
    """A body that follows: see `proxy.relay`."""

    def deliver(self, status: int, head: bytes) -> Awaitable[None]:
        """Sends head and body; what it gives is done after the last byte."""

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, as far as it came."""

    @property
    def fault(self) -> UpstreamError | None:
        """What went wrong after the answer had begun."""


class Outcome(msgspec.Struct, eq=False):
    """How an attempt ended: a status to decide by, and an answer: `body`, else `relay`, else what `reply` holds whole.

    `head` are the header lines for the client, `leaf` is whose answer it is, `retries` what the header
    `x-portkey-retry-attempt-count` says about them. `shown` is the status that the client gets, where it is another
    one. `own`: a limit that the request or its config brought ended it, which says nothing of the target. `close` gives
    back what the attempt holds: connection, permit, and its place among the target's requests.
    """

    status: int
    reply: Reply | None = None
    head: bytes = b""
    kind: Kind | None = None
    body: bytes | None = None
    relay: Relay | None = None
    usage: Usage | None = None
    retry_after: float | None = None
    permit: Permit | None = None
    leaf: Leaf | None = None
    retries: int = 0
    visit: Visit | Health | None = None
    shown: int | None = None
    own: bool = False

    def __repr__(self) -> str:
        return f"Outcome({self.status} {self.kind or 'ok'})"

    def broke(self, x: Exchange, fault: UpstreamError, now: float) -> None:
        """Says that the answer failed after it had begun, to those who took it for a good one: the target's health and
        the exchange's attempts. `now` is of the clock that attempts begin by."""
        if self.visit is not None and fault.kind is not Kind.TIMEOUT:  # whose limit it was is not known here
            self.visit.broke(fault.status)
        where = None if self.leaf is None else self.leaf.where
        for at, tried in reversed(list(enumerate(x.attempts))):
            if tried.where == where and tried.kind is None:
                x.attempts[at] = msgspec.structs.replace(tried, kind=fault.kind, duration=now - tried.began)
                return

    def close(self) -> None:
        """Gives everything back; idempotent."""
        reply = self.reply
        if reply is not None:
            self.reply = None
            reply.finish()
        permit = self.permit
        if permit is not None:
            self.permit = None
            permit.leave(self.usage, 200 <= self.status < 300)
        visit = self.visit
        if visit is not None:
            self.visit = None
            visit.leave()


ESTIMATED = {
    Dialect.ANTHROPIC_COUNT_TOKENS: b'{"input_tokens":%d}',
    Dialect.GEMINI_COUNT_TOKENS: b'{"totalTokens":%d}',
}
"""Dialects that are answered by a local guess where a provider has no endpoint for them, and how they say it."""


def dropped_line(names: tuple[str, ...]) -> bytes:
    """The header line that names the parameters which could not survive translation; empty without any."""
    if not names:
        return b""
    # The names are the client's own: no line end gets into a header.
    return b"x-loopway-dropped-params: %b\r\n" % _NOT_A_NAME.sub("?", ",".join(names))[:1000].encode()


def unsaid_line(names: tuple[str, ...]) -> bytes:
    """The header line that names what of the provider's answer the client is not told; empty where that is nothing."""
    if not names:
        return b""
    return b"x-loopway-dropped-fields: %b\r\n" % _NOT_A_NAME.sub("?", ",".join(names))[:1000].encode()


_LOST = re.compile(rb"^x-loopway-dropped-(params|fields): ([^\r\n]+)", re.MULTILINE)


def lost_in(head: bytes) -> tuple[str, ...]:
    """The names in those two lines of a head, as the log has them."""
    found: tuple[str, ...] = ()
    for what, names in _LOST.findall(head):
        each = tuple(names.decode("latin-1").split(","))
        found += together(each) if what == b"fields" else each
    return found


def retry_line(seconds: float) -> bytes:
    """The header line that says when to come back."""
    return b"retry-after: %d\r\n" % max(1, ceil(seconds))


def info_lines(leaf: Leaf, retries: int) -> bytes:
    """What every answer says about how it came to be."""
    return leaf.info % retries


_RETRY_WORD = re.compile(rb"x-should-retry:[^\n]*\n", re.IGNORECASE)


def tried_enough(head: bytes) -> bytes:
    """The header lines with the word that tells the SDKs not to try again what was tried again here: attempts of
    both would multiply."""
    return _RETRY_WORD.sub(b"", head) + b"x-should-retry: false\r\n"


def _error(
    x: Exchange,
    status: int,
    kind: Kind,
    message: str,
    type: str | None = None,
    param: str | None = None,
    code: str | None = None,
) -> Outcome:
    body = errors.body(x.family, kind, message, type=type, param=param, code=code, status=status)
    return Outcome(status, None, JSON, kind, body)


def invalid(error: InvalidRequest) -> Refused:
    """A codec's or a peek's complaint as the gateway's refusal."""
    return Refused(Kind.INVALID_REQUEST, error.message, param=error.param, code=error.code)


def of_refusal(x: Exchange, refused: Refused) -> Outcome:
    """A target that may not be used ends like one that answered so: the plan decides what follows."""
    outcome = _error(
        x, refused.status, refused.kind, refused.message, type=refused.type, param=refused.param, code=refused.code
    )
    if refused.retry_after is not None:
        outcome.retry_after = refused.retry_after
        outcome.head += b"retry-after: %d\r\n" % max(1, round(refused.retry_after))
    outcome.head += "".join(f"{name}: {value}\r\n" for name, value in refused.headers).encode("latin-1", "replace")
    return outcome


def of_upstream(x: Exchange, error: UpstreamError) -> Outcome:
    """A provider's error that came under a 200; what it means decides the status that retries and clients see."""
    status = error.status if error.status >= 400 else TRAITS[error.kind].status
    outcome = _error(x, status, error.kind, error.message, type=error.type, param=error.param, code=error.code)
    if error.retry_after is not None:
        outcome.retry_after = error.retry_after
        outcome.head += retry_line(error.retry_after)
    return outcome


def of_failure(x: Exchange, failure: UpstreamFailure) -> Outcome:
    """No usable answer came. Raises Refused (400) where the client's own custom host was the reason."""
    if failure.kind is Kind.FORBIDDEN:
        raise Refused(Kind.INVALID_REQUEST, failure.message, param="custom_host")
    return _error(x, TRAITS[failure.kind].status, failure.kind, failure.message, code=failure.kind.value)


def of_timeout(x: Exchange, timeout: float) -> Outcome:
    """The time that the request or its config allowed is over. `timeout` is in seconds."""
    message = f"Request exceeded the timeout sent in the request: {round(timeout * 1000)}ms"
    return _error(x, 408, Kind.TIMEOUT, message, type="timeout_error")


def of_estimate(x: Exchange) -> Outcome:
    """Tokens counted here, for a provider that counts none. Raises Refused (400)."""
    try:
        body = ESTIMATED[x.dialect] % estimate.input_tokens(x.body)
    except InvalidRequest as error:
        raise invalid(error) from error
    return Outcome(200, None, JSON + b"x-loopway-estimated: true\r\n", None, body)


def retry_after(reply: Reply) -> float | None:
    """Seconds until the provider wants to be asked again, from whichever spelling it uses."""
    for name in (b"retry-after-ms", b"x-ms-retry-after-ms"):
        value = reply.shape.value(reply.raw_headers, name)
        if value is not None and _NUMBER.fullmatch(value):
            return float(value) / 1000
    value = reply.shape.value(reply.raw_headers, b"retry-after")
    if value is None:
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
