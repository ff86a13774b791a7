"""A turnstile before the desk: who will be refused is told so in the call that reads the request, while many are.

An ordinary refusal is a request like any other, with an exchange, a task that wakes up, an exception, a row and a line:
a third to a half of what serving it would cost, so that those who are refused take the time of those who could be
served. Here it is the head, the key, one look at the limit, and one write of prepared bytes.

It stands there only while more than a few requests a second are refused, and for two seconds after; else there is
nothing on a request's way. It decides what is certain and plain: a key that nobody has, an API key whose concurrent
requests are all in flight and whose queue is full, or whose rate or budget is used up, a worker that sheds load. All
else goes its usual way.

So do the first refusals of each key, and of the others ten a second, with their rows in the ledger and lines in the
log. What is refused beyond that is counted in the metrics, and told by one line a second and key.
"""

from __future__ import annotations

import secrets
from collections import Counter
from time import monotonic, time

from adapters.types import Dialect
from proxy import keys
from proxy.app.desk import Desk, trace_of
from proxy.app.overload import Shedder, framed
from proxy.errors import Refused
from proxy.exchange import Exchange, Proof
from proxy.limits import Limiter
from proxy.live import Live
from proxy.metrics import Metrics
from proxy.pipeline import told
from proxy.ports import Limits
from proxy.server import Edge
from proxy.usage import Notes

_MANY = 20  # refusals within a second, after which it is put up
_CALM = 2.0  # seconds without as many, after which it is taken away
_TELL_EVERY = 1.0
_SPARE_EVERY = 0.1  # seconds after which one more of a key goes its usual way, to leave a row
_HOLDS = 0.01  # seconds for which what a rate or a budget said is said again: far less than it takes to have room anew
_BY_LIMITS = frozenset((412, 429))
_REFUSALS = _BY_LIMITS | {401, 503}


class _Answer:
    """What clients of one dialect are told, but for the trace id between `front` and `back`, and how often it was."""

    __slots__ = ("back", "count", "front")

    def __init__(self, front: bytes, back: bytes) -> None:
        self.front = front
        self.back = back
        self.count = 0


class _Storm:
    """What is refused for one reason to one key, or to callers without a key (`name` None). `refused` is what they are
    told, which holds `until` then (the loop's time) where it is not by concurrency."""

    __slots__ = ("answers", "limits", "name", "refused", "spare_at", "until")

    def __init__(self, name: str | None, refused: Refused | None = None) -> None:
        self.name = name
        self.refused = refused
        self.limits: Limits | None = None
        self.answers: dict[Dialect, _Answer] = {}
        self.spare_at = 0.0
        self.until = 0.0


class Turnstile:
    """One per worker. `beat` is to be called ten times a second, `noted` of what is refused on its usual way."""

    def __init__(self, edge: Edge, desk: Desk, live: Live, metrics: Metrics, notes: Notes, shedder: Shedder) -> None:
        self._edge = edge
        self._desk = desk
        self._live = live
        self._metrics = metrics
        self._notes = notes
        self._shedder = shedder
        self._strangers = _Storm(None, keys.unknown())
        self._full: dict[Limiter, _Storm] = {}
        self._spent: dict[Limiter, _Storm] = {}
        self._prefix = secrets.token_hex(8).encode()
        self._number = 0
        self._noted = 0
        self._seen = 0
        self._told: Counter[tuple[str | None, int]] = Counter()
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
        if limiter is not None and limiter not in self._full and x.status in _BY_LIMITS:
            self._full[limiter], self._spent[limiter] = _Storm(limiter.name), _Storm(limiter.name)

    def beat(self) -> None:
        """Takes it away when nothing is refused any more, and tells what it has refused."""
        now = monotonic()
        if now < self._tell_at:
            return
        self._tell_at = now + _TELL_EVERY
        many = self._noted + self._number - self._seen > _MANY
        self._noted, self._seen = 0, self._number
        if not self.up:
            return
        self.settle()
        for (name, status), count in self._told.items():
            self._notes.turned_away(name, status, count)
        self._told.clear()
        if many:
            self._until = now + _CALM
        elif now >= self._until:
            self._edge.turnstile = None
            self._full.clear()
            self._spent.clear()

    def settle(self) -> None:
        """Counts what was refused since the last time."""
        for storm in (self._strangers, *self._full.values(), *self._spent.values()):
            self._settle(storm)

    def _settle(self, storm: _Storm) -> None:
        for dialect, answer in storm.answers.items():
            if answer.count:
                assert storm.refused is not None
                self._metrics.turned_away(dialect, storm.refused.status, answer.count)
                self._told[storm.name, storm.refused.status] += answer.count
                answer.count = 0

    def look(self, method: str, target: str, found: dict[bytes, bytes], proof: Proof, now: float) -> bytes | None:
        """The whole answer to a request that is refused; None: it goes its usual way. `now` is the loop's time."""
        try:
            route = self._desk.router.find(method, target.partition("?")[0]).route
        except Refused:
            return None
        dialect = route.dialect
        digest = keys.digest_of(found, proof)
        if dialect is None or route.scope is None or digest is None:
            return None
        snapshot = self._live.snapshot
        key = snapshot.keys.get(digest)
        if key is None:
            return None if snapshot.unsure else self._refuse(self._strangers, dialect, found, now)
        if route.scope not in key.scopes or (key.until is not None and key.until <= time()):
            return None
        if self._shedder.guarding:
            answer = self._shedder.answer(dialect.family)
            if answer is not None:
                return self._filled(*answer, found)
        limiter = key.limiter
        storm = None if limiter is None else self._full.get(limiter)
        if limiter is None or storm is None:
            return None
        if storm.limits is not limiter.limits:
            storm.limits = limiter.limits
            self._change(storm, limiter.full())
            self._spent[limiter].until = 0.0
        if limiter.shut(key.id):
            return self._refuse(storm, dialect, found, now)
        return None if limiter.meter is None else self._refuse_spent(limiter, dialect, found, now)

    def _refuse_spent(self, limiter: Limiter, dialect: Dialect, found: dict[bytes, bytes], now: float) -> bytes | None:
        """The same for a key whose rate or budget has no room, for anything that it may ask for."""
        storm = self._spent[limiter]
        if now >= storm.until:
            self._change(storm, limiter.closed())
            storm.until = now + _HOLDS
        return None if storm.refused is None else self._refuse(storm, dialect, found, now)

    def _change(self, storm: _Storm, refused: Refused | None) -> None:
        """From now on another answer is given, or none."""
        self._settle(storm)
        storm.refused = refused
        storm.answers.clear()

    def _refuse(self, storm: _Storm, dialect: Dialect, found: dict[bytes, bytes], now: float) -> bytes | None:
        if now >= storm.spare_at:
            storm.spare_at = now + _SPARE_EVERY
            return None
        answer = storm.answers.get(dialect)
        if answer is None:
            assert storm.refused is not None
            words = told(storm.refused, dialect.family)
            answer = storm.answers[dialect] = _Answer(*framed(storm.refused.status, *words))
        answer.count += 1
        return self._filled(answer.front, answer.back, found)

    def _filled(self, front: bytes, back: bytes, found: dict[bytes, bytes]) -> bytes:
        self._number += 1
        if b"x-portkey-trace-id" in found or b"traceparent" in found:
            return front + trace_of(found, secrets.token_hex(16)).encode() + back
        return b"%b%b%016x%b" % (front, self._prefix, self._number, back)
