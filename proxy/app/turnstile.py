"""A turnstile before the desk: who will be refused is told so in the call that reads the request, while many are.

An ordinary refusal is a request like any other, with a task that wakes up, an exception and an answer made for it: a
third to a half of what serving it would cost, so that those who are refused take the time of those who could be served.
Here it is the head, the key, one look at the limit and one at the body, and one write of prepared bytes.

It stands there only while more than a few requests a second are refused, and for two seconds after; else there is
nothing on a request's way. It decides what is certain and plain: a key that nobody has, an API key whose concurrent
requests are all in flight and whose queue is full, or whose rate or budget is used up, a worker that sheds load. All
else goes its usual way, the first refusals of each key among it.

What is refused to an API key is settled like any other request, with its row in the ledger and its line in the log.
Callers without a good key cannot fill a disk: ten of them a second go their usual way and leave that, the others are
counted in the metrics and told by one line a second.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from time import monotonic, time

from aiohttp.http import RawRequestMessage

from adapters.types import Dialect
from proxy import keys
from proxy.app.desk import Desk, trace_of
from proxy.app.overload import Framed, Shedder, framed
from proxy.config.snapshot import Key
from proxy.errors import Refused
from proxy.exchange import Exchange, family_of
from proxy.limits import Limiter
from proxy.live import Live
from proxy.metrics import Metrics
from proxy.pipeline import Pipeline, told
from proxy.ports import Limits
from proxy.server import Door, Edge
from proxy.usage import Notes

_MANY = 20  # refusals within a second, after which it is put up
_CALM = 2.0  # seconds without as many, after which it is taken away
_TELL_EVERY = 1.0
_SPARE_EVERY = 0.1  # seconds after which one more caller without a good key goes its usual way, to leave a row
_HOLDS = 0.01  # seconds for which what a rate or a budget said is said again: far less than it takes to have room anew
_BY_LIMITS = frozenset((412, 429))
_REFUSALS = _BY_LIMITS | {401, 503}


class _Saying:
    """What callers are told, and its bytes for clients of each family of dialects, but for the trace id in them."""

    __slots__ = ("_framed", "refused")

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        self._framed: dict[str, Framed] = {}

    def to(self, family: str) -> Framed:
        """What stands before the trace id, and after it."""
        found = self._framed.get(family)
        if found is None:
            found = self._framed[family] = framed(self.refused.status, *told(self.refused, family))
        return found


class _Storm:
    """What is refused to one API key. `full` holds for these `limits`, `spent` (None: there is room) until then, in the
    loop's time."""

    __slots__ = ("full", "limits", "spent", "until")

    def __init__(self, limiter: Limiter) -> None:
        self.limits: Limits = limiter.limits
        self.full = _Saying(limiter.full())
        self.spent: _Saying | None = None
        self.until = 0.0

    def says(self, limiter: Limiter, key: Key, now: float) -> _Saying | None:
        """Why a request would be refused whatever it asks for; None: it would not."""
        if limiter.meter is not None:  # asked first, as on the usual way
            if now >= self.until:
                refused = limiter.closed()
                self.spent = None if refused is None else _Saying(refused)
                self.until = now + _HOLDS
            if self.spent is not None:
                return self.spent
        return self.full if limiter.shut(key.id) else None


class Turnstile:
    """One per worker. `beat` is to be called ten times a second, `noted` of what is refused on its usual way."""

    def __init__(
        self,
        edge: Edge,
        desk: Desk,
        live: Live,
        pipeline: Pipeline,
        metrics: Metrics,
        notes: Notes,
        shedder: Shedder,
        settle: Callable[[Exchange, float], None],
    ) -> None:
        """`settle` is the pipeline's: each request that was refused for its key ends there."""
        self._edge = edge
        self._desk = desk
        self._live = live
        self._pipeline = pipeline
        self._metrics = metrics
        self._notes = notes
        self._shedder = shedder
        self._settle_one = settle
        self._storms: dict[Limiter, _Storm] = {}
        self._unknown = _Saying(keys.unknown())
        self._strangers: Counter[Dialect] = Counter()
        self._spare_at = 0.0
        self._untold = 0
        self._prefix = secrets.token_hex(8).encode()
        self._number = 0
        self._noted = 0
        self._seen = 0
        self._tell_at = 0.0
        self._until = 0.0

    @property
    def up(self) -> bool:
        """Whether requests pass it."""
        return self._edge.turnstile is not None

    def noted(self, x: Exchange) -> None:
        """A request was refused on its usual way."""
        if x.status not in _REFUSALS:
            return
        self._noted += 1
        if self._noted <= _MANY and not self.up:
            return
        self._until = monotonic() + _CALM
        self._edge.turnstile = self.look
        limiter = None if x.key is None else x.key.limiter
        if limiter is not None and limiter not in self._storms and x.status in _BY_LIMITS:
            self._storms[limiter] = _Storm(limiter)

    def beat(self) -> None:
        """Takes it away when nothing is refused any more, and tells how many strangers were."""
        now = monotonic()
        if now < self._tell_at:
            return
        self._tell_at = now + _TELL_EVERY
        many = self._noted + self._number - self._seen > _MANY
        self._noted, self._seen = 0, self._number
        if not self.up:
            return
        self.settle()
        if self._untold:
            self._notes.turned_away(self._unknown.refused.status, self._untold)
            self._untold = 0
        if many:
            self._until = now + _CALM
        elif now >= self._until:
            self._edge.turnstile = None
            self._storms.clear()

    def settle(self) -> None:
        """Counts the strangers that were refused since the last time."""
        for dialect, count in self._strangers.items():
            self._metrics.turned_away(dialect, self._unknown.refused.status, count)
            self._untold += count
        self._strangers.clear()

    def look(self, door: Door, message: RawRequestMessage, found: dict[bytes, bytes], now: float) -> bytes | None:
        """The whole answer to a request that is refused; None: it goes its usual way. `door` has the body, `now` is the
        loop's time."""
        try:
            match = self._desk.router.find(message.method, message.path.partition("?")[0])
        except Refused:
            return None
        route = match.route
        dialect = route.dialect
        digest = keys.digest_of(found, door.proof)
        if dialect is None or route.scope is None or digest is None:
            return None
        snapshot = self._live.snapshot
        key = snapshot.keys.get(digest)
        if key is None:
            return None if snapshot.unsure else self._refuse_stranger(dialect, message.path, found, now)
        if route.scope not in key.scopes or (key.until is not None and key.until <= time()):
            return None
        if self._shedder.guarding:
            answer = self._shedder.answer(family_of(dialect, message.path, found))
            if answer is not None:
                return self._filled(*answer, found)
        limiter = key.limiter
        storm = None if limiter is None else self._storms.get(limiter)
        if limiter is None or storm is None or self._desk.watched:
            return None
        if storm.limits is not limiter.limits:
            storm = self._storms[limiter] = _Storm(limiter)
        saying = storm.says(limiter, key, now)
        if saying is None:
            return None
        x = self._desk.begin(door, message, found)
        if route.named:
            x.path_model = match.params["model"]
        return self._refuse(x, saying) if self._pipeline.foresee(x, dialect, key) else None

    def _refuse(self, x: Exchange, saying: _Saying) -> bytes:
        """The answer to a request for which it is the key's limits that are in the way, and its settlement."""
        self._number += 1
        refused = saying.refused
        x.status, x.kind = refused.status, refused.kind
        front, back = saying.to(x.family)
        answer = b"%b%b%b" % (front, x.trace_id.encode(), back)
        self._metrics.in_flight += 1  # which settling takes back
        self._settle_one(x, monotonic())
        return answer

    def _refuse_stranger(self, dialect: Dialect, path: str, found: dict[bytes, bytes], now: float) -> bytes | None:
        if now >= self._spare_at:
            self._spare_at = now + _SPARE_EVERY
            return None
        self._strangers[dialect] += 1
        return self._filled(*self._unknown.to(family_of(dialect, path, found)), found)

    def _filled(self, front: bytes, back: bytes, found: dict[bytes, bytes]) -> bytes:
        self._number += 1
        if b"x-portkey-trace-id" in found or b"traceparent" in found:
            return front + trace_of(found, secrets.token_hex(16)).encode() + back
        return b"%b%b%016x%b" % (front, self._prefix, self._number, back)
