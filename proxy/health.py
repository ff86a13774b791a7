"""What is known of targets from how they answered: load, speed, circuit breakers, retry budgets.

All of it belongs to a target's identity (provider, address, credential), not to a configuration: a reload keeps it.
Nothing is kept for a target until a config asks for it; then its `health` is set, and requests to it are counted.
Times are seconds of the monotonic clock, and always come in as an argument.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import inf
from typing import Protocol, TypeVar

import msgspec

_KEPT = 4096  # identities: more than any operator has; what clients name themselves must have an end
_EACH = 256  # breakers and speeds of one identity
_WINDOW = 10  # seconds of the retry budget
_SHARE = 0.2
_LEAST = 3
_SAMPLES = 64
_ENOUGH = 8  # samples before a quantile means anything
_HALF_LIFE = 30.0  # seconds in which a measurement loses half of its weight against not knowing
_BLEND = 0.3
_PENALTY = 1.0  # seconds that a failure counts as at least
_LONGEST = 16  # times the cooldown that an ejection lasts at most
_ASIDE = 300.0  # seconds that a provider's Retry-After is believed at most

K = TypeVar("K")
V = TypeVar("V")


class Budget:
    """Retries at one upstream: at most a fifth of the requests of the last ten seconds, but always three in that time.

    So under steady load a provider that fails everything sees at most 1.2 times the requests. (Envoy's `retry_budget`
    has the same two numbers.) Counted by the second, in this worker; a retry counts when it will be made.
    """

    __slots__ = ("_retries", "refused", "requests")

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self._retries: dict[int, int] = {}
        self.refused = 0

    def request(self, now: float) -> None:
        """Counts a request, not its retries."""
        second = int(now)
        try:
            self.requests[second] += 1
        except KeyError:
            _count(self.requests, second, second)

    def take(self, now: float, at: float) -> bool:
        """Whether a retry may be made at that time; if so it counts."""
        # The ten seconds up to the retry have the requests that came in them so far. Others, to which it belongs as
        # well, lie ahead: they will have as many as the last ten. Retries are promised already in all of them.
        second = int(at)
        before = _sum(self._retries, second)
        most = max(_sum(self._retries, last) for last in range(second, second + _WINDOW))
        if before + 1 > max(_LEAST, _SHARE * _sum(self.requests, second)) or most + 1 > max(
            _LEAST, _SHARE * _sum(self.requests, int(now))
        ):
            self.refused += 1
            return False
        _count(self._retries, int(at), int(now))
        return True


def _count(seconds: dict[int, int], second: int, now: int) -> None:
    if second not in seconds and len(seconds) >= 2 * _WINDOW:
        for old in [old for old in seconds if old <= now - _WINDOW]:
            del seconds[old]
    seconds[second] = seconds.get(second, 0) + 1


def _sum(seconds: dict[int, int], last: int) -> int:
    return sum(seconds.get(second, 0) for second in range(last - _WINDOW + 1, last + 1))


class Speed:
    """Seconds until a target's answers began: a decaying mean, and the last few for quantiles."""

    __slots__ = ("_at", "_mean", "_next", "_samples")

    def __init__(self) -> None:
        self._mean = 0.0
        self._at = 0.0
        self._samples: list[float] = []
        self._next = 0

    def note(self, seconds: float, now: float) -> None:
        """One more answer began after so many seconds."""
        self._mean = seconds if not self._samples else (1 - _BLEND) * self.estimate(now) + _BLEND * seconds
        self._at = now
        if len(self._samples) < _SAMPLES:
            self._samples.append(seconds)
        else:
            self._samples[self._next] = seconds
            self._next = (self._next + 1) % _SAMPLES

    def failed(self, seconds: float, now: float) -> None:
        """A failure counts as slow, however fast it was: a target that refuses at once must not attract requests."""
        self._mean = max(_PENALTY, seconds, 2 * self.estimate(now))
        self._at = now
        if not self._samples:
            self._samples.append(self._mean)

    def estimate(self, now: float) -> float:
        """The mean, fading to 0 while nobody asks: so a target that was slow is tried again."""
        return float(self._mean * 0.5 ** ((now - self._at) / _HALF_LIFE))

    def quantile(self, share: float) -> float | None:
        """Below which so many of the last answers began; None before there are enough."""
        if len(self._samples) < _ENOUGH:
            return None
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Rules(Protocol):
    """What a circuit breaker is told: `proxy.config.nodes.Breaker`. Hashable; `cooldown_interval` in milliseconds."""

    @property
    def failure_threshold(self) -> int | None: ...
    @property
    def failure_threshold_percentage(self) -> float | None: ...
    @property
    def consecutive_failures(self) -> int | None: ...
    @property
    def cooldown_interval(self) -> int: ...
    @property
    def failure_status_codes(self) -> tuple[int, ...] | None: ...
    @property
    def minimum_requests(self) -> int: ...


class Circuit:
    """One circuit breaker: closed, open until `until`, then half-open, when one request probes the target.

    Closed, it counts failures and successes since the first failure, for one cooldown. It opens for a cooldown, and for
    twice as long each time in a row that the probe fails (at most 16 times), plus up to a tenth, so that many gateways
    do not return at once. A probe that ends without a failure closes it.
    """

    __slots__ = (
        "_codes", "_cooldown", "_draw", "_rules", "closed_at", "failures", "in_row", "opened_at", "probing", "since",
        "successes", "times", "until",
    )  # fmt: skip

    def __init__(self, rules: Rules, draw: Callable[[], float] = random.random) -> None:
        self._rules = rules
        self._draw = draw
        self._cooldown = rules.cooldown_interval / 1000
        self._codes = None if rules.failure_status_codes is None else frozenset(rules.failure_status_codes)
        self.failures = self.successes = self.in_row = self.times = 0
        self.since = self.until = self.opened_at = self.closed_at = 0.0
        self.probing = False

    def __repr__(self) -> str:
        return f"Circuit({self.failures} failures, {self.successes} successes, {'open' if self.until else 'closed'})"

    def state(self, now: float) -> str:
        """`closed`, `open` or `half_open`."""
        return "closed" if not self.until else "open" if now < self.until else "half_open"

    def allows(self, now: float) -> bool:
        """Whether a request may go there. Asking changes nothing."""
        return not self.until or (now >= self.until and not self.probing)

    def enter(self, now: float) -> bool:
        """A request goes there. Whether it is the probe, which then must end in `record` or `give_up`."""
        if self.until and now >= self.until and not self.probing:
            self.probing = True
            return True
        return False

    def give_up(self) -> None:
        """The probe ended without a verdict: its client left, or the gateway itself refused it."""
        self.probing = False

    def record(self, status: int, began: float, now: float, probe: bool = False) -> None:
        """How a request that began then has ended."""
        failed = status in self._codes if self._codes is not None else status >= 500
        if self.until:
            if probe:
                self.probing = False
                (self._open if failed else self._close)(now)
            elif began > self.opened_at and 200 <= status < 300:
                # Every target was out, so none was left out; and this one answered well.
                self._close(now)
            return
        if self.failures and now - self.since > self._cooldown:
            self.failures = self.successes = 0
        if failed:
            if not self.failures:
                self.since = now
            self.failures += 1
            self.in_row += 1
            if self._tripped():
                self._open(now)
        elif 200 <= status < 300:
            self.in_row = 0
            self.successes += 1

    def well(self, status: int) -> bool:
        """`record` for a 2xx while nothing is amiss, without a clock. Whether it was so; else nothing is done."""
        if self.until or self.failures or (self._codes is not None and status in self._codes):
            return False
        self.in_row = 0
        self.successes += 1
        return True

    def hear_open(self, opened_at: float, until: float, times: int) -> None:
        """Another worker's circuit for the same opened then, which may be news."""
        if opened_at > max(self.opened_at, self.closed_at):
            self.opened_at, self.until, self.times = opened_at, until, times
            self.probing = False

    def hear_closed(self, closed_at: float) -> None:
        """Another worker's circuit for the same closed then, which may be news."""
        if self.until and closed_at > self.opened_at:
            self._close(closed_at)

    def _tripped(self) -> bool:
        rules = self._rules
        total = self.failures + self.successes
        return (
            (rules.consecutive_failures is not None and self.in_row >= rules.consecutive_failures)
            or (rules.failure_threshold is not None and self.failures >= rules.failure_threshold)
            or (
                rules.failure_threshold_percentage is not None
                and total >= rules.minimum_requests
                and 100 * self.failures >= rules.failure_threshold_percentage * total
            )
        )

    def _open(self, now: float) -> None:
        calm = now - self.closed_at > self._cooldown * min(2 ** max(0, self.times - 1), _LONGEST)
        self.times = 1 if not self.until and calm else self.times + 1
        lasting = self._cooldown * min(2 ** (self.times - 1), _LONGEST)
        self.opened_at = now
        self.until = now + lasting * (1 + 0.1 * self._draw())

    def _close(self, now: float) -> None:
        self.failures = self.successes = self.in_row = 0
        self.until = 0.0
        self.closed_at = now


class Track:
    """What is known of one target for one model: its speed, streams and whole answers apart."""

    __slots__ = ("streamed", "whole")

    def __init__(self) -> None:
        self.streamed = Speed()
        self.whole = Speed()

    def speed(self, streamed: bool) -> Speed:
        """The speed of streams, or of whole answers."""
        return self.streamed if streamed else self.whole


class Health:
    """One target, by its identity. `in_flight` are its requests in this worker; until `aside` it asked to be left
    alone, which those who have another target respect."""

    __slots__ = ("aside", "budget", "circuits", "in_flight", "name", "tracks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = 0
        self.aside = 0.0
        self.budget = Budget()
        self.circuits: dict[tuple[str, Rules], Circuit] = {}
        self.tracks: dict[str, Track] = {}

    def __repr__(self) -> str:
        return f"Health({self.name}: {self.in_flight} in flight, {len(self.circuits)} circuits)"

    def circuit(self, model: str, rules: Rules) -> Circuit:
        """The breaker of these rules for this model ('': whatever the request asks for)."""
        return _kept(self.circuits, (model, rules), lambda: Circuit(rules))

    def track(self, model: str) -> Track:
        """The speed with this model."""
        return _kept(self.tracks, model, Track)

    def put_aside(self, seconds: float, now: float) -> None:
        """The provider asked to be left alone so long."""
        self.aside = max(self.aside, now + min(seconds, _ASIDE))

    def leave(self) -> None:
        """A request is over that nobody watches: it is only counted."""
        self.in_flight -= 1

    def broke(self, status: int) -> None:
        """Its answer broke off, which then is nothing to anybody."""

    def answered(self, status: int, retry_after: float | None) -> None:
        """Its answer has begun, or failed; the same."""

    def idle(self, now: float) -> bool:
        """Whether nothing would be lost by forgetting it."""
        return not self.in_flight and self.aside <= now and all(not circuit.until for circuit in self.circuits.values())


class Visit(msgspec.Struct, eq=False):
    """One request at a target whose health is watched: from its start (`enter`) to the last byte of its answer.

    `circuit` and `speed` where somebody wants them; `probe`: it is the circuit's. `told` once it has answered.
    """

    health: Health | None
    circuit: Circuit | None
    speed: Speed | None
    clock: Callable[[], float]
    began: float
    probe: bool = False
    told: bool = False

    def answered(self, status: int, retry_after: float | None) -> None:
        """The answer has begun, or failed. `retry_after` are the seconds that its provider asked for."""
        self.told = True
        circuit, speed = self.circuit, self.speed
        if speed is None:
            if circuit is None:
                return
            if 200 <= status < 300 and circuit.well(status):
                return
        now = self.clock()
        if speed is not None:
            took = now - self.began
            if 200 <= status < 300:
                speed.note(took, now)
            elif status >= 500 or status in (408, 429):
                speed.failed(took, now)
        if circuit is not None:
            circuit.record(status, self.began, now, self.probe)
            if retry_after and status in (429, 503, 529) and self.health is not None:
                self.health.put_aside(retry_after, now)

    def broke(self, status: int) -> None:
        """The answer failed after it had begun, as one with this status would."""
        if self.circuit is not None:
            self.circuit.record(status, self.began, self.clock())

    def leave(self) -> None:
        """It is over; idempotent. Who leaves without an answer was given up: at least that slow, and no verdict."""
        health = self.health
        if health is None:
            return
        self.health = None
        health.in_flight -= 1
        if not self.told:
            self._given_up()

    def _given_up(self) -> None:
        if self.probe and self.circuit is not None:
            self.circuit.give_up()
        now = self.clock()
        if self.speed is not None and now - self.began > self.speed.estimate(now):
            self.speed.note(now - self.began, now)


def enter(
    health: Health,
    circuit: Circuit | None,
    speed: Speed | None,
    clock: Callable[[], float],
    now: float,
    retry: bool = False,
) -> Visit | Health:
    """A request goes to a target now. `retry`: it is not the first try of a request there. Returns whom to tell what
    becomes of it: the target itself, where nobody wants to know more than that it is there."""
    health.in_flight += 1
    if not retry:
        health.budget.request(now)
    if circuit is None and speed is None:
        return health
    return Visit(health, circuit, speed, clock, now, circuit is not None and circuit.until > 0 and circuit.enter(now))


def _kept(found: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """What is there, or made now; the oldest goes where there are too many, because clients may write configs."""
    value = found.get(key)
    if value is None:
        if len(found) >= _EACH:
            del found[next(iter(found))]
        value = found[key] = make()
    return value


class Healths:
    """All that is known of targets in this worker, by identity."""

    def __init__(self) -> None:
        self._known: dict[str, Health] = {}

    def __iter__(self) -> Iterator[Health]:
        return iter(list(self._known.values()))

    def items(self) -> list[tuple[str, Health]]:
        """All of them with their identities."""
        return list(self._known.items())

    def find(self, identity: str) -> Health | None:
        """What is known, if anything was asked to be."""
        return self._known.get(identity)

    def of(self, identity: str, name: str) -> Health:
        """The health of an identity, kept from now on."""
        health = self._known.get(identity)
        if health is None:
            if len(self._known) >= _KEPT:
                first = next((each for each, found in self._known.items() if found.idle(inf)), next(iter(self._known)))
                del self._known[first]
            health = self._known[identity] = Health(name)
        return health
