"""Load shedding: a worker that has too much to do says so at once, and does the rest well.

Three things make too much: requests in flight (each takes two descriptors), an event loop that is late for seconds on
end, and a container whose memory is nearly full. A request that is refused has cost its head and its key: its body is
not read, no provider hears of it, the ledger has no row. Probes and administration are never refused.

While nothing is wrong there is nothing on a request's way: the edge calls the desk itself. Only when the loop's beat
is late, memory is short, or more connections are open than may be served at once, is `Shedder.handle` put before it.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from time import monotonic, thread_time

from adapters import errors
from adapters.errors import Kind
from proxy import keys
from proxy.app.container import Container
from proxy.app.desk import Desk
from proxy.config.settings import OverloadSettings
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.metrics import SHED, Metrics
from proxy.pipeline import refuse
from proxy.routes import Route
from proxy.server import Edge
from proxy.server.door import STATUS_LINES
from proxy.usage import Notes

_SUSTAINED = 2.0  # seconds without a punctual beat, after which a loop is overloaded: a burst is over by then
_CALM = 2.0  # seconds without trouble after which nobody is looked at any more
_LOOK_EVERY = 3  # beats between two looks at memory
_TELL_EVERY = 10.0
_OWN_FILES = 64  # descriptors of a worker that no request has
# Those refused are told to come back in 1 to 3 seconds, so that they do not come all at once.
_HEADS = tuple(b"content-type: application/json\r\nretry-after: %d\r\n" % seconds for seconds in (1, 2, 3))
Framed = tuple[bytes, bytes]
"""An answer but for its trace id: what stands before that, and after it."""
_log = logging.getLogger("loopway")

IN_FLIGHT, LAG, MEMORY = SHED
_SAYS = {
    IN_FLIGHT: "it serves as many requests as it can",
    LAG: "it has more to do than it has time for",
    MEMORY: "its memory is nearly full",
}


class Shedder:
    """Decides, for one worker, who must be refused. `beat` is to be called ten times a second."""

    def __init__(
        self,
        edge: Edge,
        desk: Desk,
        metrics: Metrics,
        notes: Notes,
        settings: OverloadSettings,
        workers: int,
        container: Container | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`workers` share the memory of `container`; None: nothing limits it."""
        self._edge = edge
        self._desk = desk
        self._metrics = metrics
        self._notes = notes
        self._loop = loop
        self._workers = workers
        self._container = container if settings.memory else None
        self._fullest = settings.memory
        self._latest = settings.lag
        self._most = most(settings)
        self._tight = False
        self._late_since: float | None = None
        self._late_until = 0.0
        self._calm_at = 0.0
        self._turn_began: float | None = None
        self._beats = 0
        self._tell_at = 0.0
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._answers: dict[tuple[str, str, int], Framed] = {}
        self.on_refused: Callable[[Exchange], None] = _nobody
        """Told of each request that was refused."""
        if self._most:
            edge.crowd = self._most
            edge.on_crowd = self._guard

    def beat(self, late: float) -> None:
        """The loop's timer came so many seconds late."""
        now = monotonic()
        self._beats += 1
        if self._latest:
            self._feel(late, now)
        if self._container is not None and self._beats % _LOOK_EVERY == 0:
            self._look(self._container)
        if self.guarding and now >= self._calm_at and not self._tight and not self._crowded:
            self._edge.handle = self._desk.handle

    def close(self) -> None:
        """Ends."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def guarding(self) -> bool:
        """Whether requests are looked at, and may be refused."""
        return self._edge.handle == self.handle

    @property
    def _crowded(self) -> bool:
        return len(self._edge.connections) > self._edge.crowd

    def _guard(self) -> None:
        self._calm_at = monotonic() + _CALM
        self._edge.handle = self.handle

    def _feel(self, late: float, now: float) -> None:
        """One late beat is a burst, or a machine that stood still; late beats for seconds are too much work."""
        if late < self._latest:
            self._late_since = None
            return
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since >= _SUSTAINED:
            self._late_until = now + _CALM
            self._guard()

    def _look(self, container: Container) -> None:
        try:
            # What others fill in the same container, refusing requests here does not empty.
            ours = container.own() * self._workers > 0.5
            self._tight = ours and container.used() >= self._fullest
        except OSError as error:
            _log.warning("the container's memory cannot be watched any more: %s", error)
            self._tight = False
            self.close()
        if self._tight:
            self._guard()

    # -- while guarding

    def handle(self, x: Exchange) -> Awaitable[None]:
        """As `Desk.handle`, unless there is too much to do."""
        why = self._why()
        if why is not None:
            try:
                route = self._desk.router.find(x.method, x.path).route
            except Refused:
                return self._desk.handle(x)
            if route.dialect is not None and route.scope is not None:
                return self._refuse(x, route, route.scope, why)
        return self._desk.handle(x)

    def _why(self) -> str | None:
        """What there is too much of, if a request came now."""
        in_flight = self._metrics.in_flight
        if self._most and in_flight >= self._most:
            return IN_FLIGHT
        if self._tight and in_flight:  # one at least goes on: what refuses everybody for ever helps nobody
            return MEMORY
        if self._late_until and self._turn_is_long():
            return LAG
        return None

    def _turn_is_long(self) -> bool:
        """Whether this turn of the loop worked on new requests for half of what it may be late. Those that follow would
        be late, and so would the answers that wait for the turn's end."""
        now = monotonic()
        if now >= self._late_until:
            self._late_until = 0.0
            return False
        worked = thread_time()  # of ours, not of what else the machine does: refusing would not help against that
        if self._turn_began is None:
            self._turn_began = worked
            self._loop.call_soon(self._next_turn)
            return False
        if worked - self._turn_began < self._latest / 2:
            return False
        self._late_until = now + _CALM
        return True

    def _next_turn(self) -> None:
        self._turn_began = None

    async def _refuse(self, x: Exchange, route: Route, scope: str, why: str) -> None:
        assert route.dialect is not None
        x.dialect = route.dialect
        try:
            x.key = keys.authenticate(x)
            keys.authorize(x.key, scope)
        except Refused as refused:
            refuse(x, refused)
            self._notes.request(x, "unknown")
            return
        count = self._count(why)
        x.kind, x.status = Kind.OVERLOADED, 503
        x.client.respond(503, _HEADS[count % len(_HEADS)], self._body(x.family, why))
        self._notes.request(x, "shed")
        self.on_refused(x)

    def answer(self, family: str) -> Framed | None:
        """The answer to a request that has shown its key, if there is too much to do; nothing else is made of it."""
        why = self._why()
        if why is None:
            return None
        turn = self._count(why) % len(_HEADS)
        answer = self._answers.get((family, why, turn))
        if answer is None:
            answer = self._answers[family, why, turn] = framed(503, _HEADS[turn], self._body(family, why))
        return answer

    def _count(self, why: str) -> int:
        """One more is refused: which, for this reason."""
        self._metrics.shed[why] += 1
        count = self._metrics.shed[why]
        now = monotonic()
        self._calm_at = now + _CALM
        if now >= self._tell_at:
            self._tell_at = now + _TELL_EVERY
            _log.warning("requests are refused (503), %s: %s; %d so far", why, _SAYS[why], count)
        return count

    def _body(self, family: str, why: str) -> bytes:
        """What a client of this family of dialects is told: the same each time, so it is made once."""
        body = self._bodies.get((family, why))
        if body is None:
            message = f"This gateway is overloaded: {_SAYS[why]}. Try again shortly."
            body = errors.body(family, Kind.OVERLOADED, message, code="gateway_overloaded", status=503)
            self._bodies[family, why] = body
        return body


def framed(status: int, lines: bytes, body: bytes) -> Framed:
    """A whole answer, on a connection that is kept, but for its trace id."""
    return (
        b"%b%bx-portkey-trace-id: " % (STATUS_LINES[status], lines),
        b"\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body),
    )


def _nobody(x: Exchange) -> None:
    """Whom a refusal does not concern."""


def most(settings: OverloadSettings) -> int:
    """How many requests a worker serves at once; 0: any number."""
    if settings.in_flight is not None:
        return settings.in_flight
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else max(1, (soft - _OWN_FILES) // 2)
