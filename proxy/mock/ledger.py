"""What the mock remembers: counters, and the last requests as they came in. Tests ask it what a gateway really did."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Literal

import msgspec

from proxy.mock.answer import Pairs

KEPT_REQUESTS = 1000
KEPT_BODY = 1024 * 1024
_KEPT_BODIES = 64 * KEPT_BODY
_MAX_LABELS = 1000
_OTHER = "other"

State = Literal["open", "complete", "faulted", "aborted", "failed"]


class Record(msgspec.Struct):
    """One request. `path` is as received, without query; `route` without the mode prefix. Times are Unix seconds.

    `credential` is the provider key as text.
    `state`: open (in flight), complete, faulted (the mock broke it off as told), aborted (the peer left first) or
    failed (a defect of the mock). `connection` numbers the connections. `body` holds at most 1 MiB, `size` and
    `sha256` are of all that came; `sent` counts the bytes of the answer's body.
    """

    number: int
    connection: int
    method: str
    path: str
    route: str
    query: str
    headers: Pairs
    credential: str
    accepted_at: float
    read_at: float | None = None
    ended_at: float | None = None
    state: State = "open"
    status: int | None = None
    model: str | None = None
    mode: str = ""
    body: bytes = b""
    size: int = 0
    sha256: str = ""
    sent: int = 0
    generation: int = 0

    def header(self, name: str) -> str | None:
        """The first value of that header field, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    def view(self) -> dict[str, Any]:
        """The record as JSON shows it: `body` as text, or `body_base64` where it is none."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("body", "generation")}
        try:
            shown["body"] = self.body.decode()
        except UnicodeDecodeError:
            shown["body_base64"] = self.body
        return shown


class Count(msgspec.Struct):
    """Requests seen, in flight now, most in flight at once, and left by their peer."""

    requests: int = 0
    open: int = 0
    max_in_flight: int = 0
    aborted: int = 0


class Ledger:
    """Counters and the ring of records. Requests for the mock's own pages are not in it."""

    def __init__(self) -> None:
        self._connections: dict[object, int] = {}
        self._control: set[int] = set()
        self._busy: set[object] = set()
        self._next_connection = 0
        self._next_number = 0
        self._generation = 0
        self._open = 0
        self._clear()

    def _clear(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT_REQUESTS)
        self._with_body: deque[Record] = deque()
        self._body_bytes = 0
        self._totals = Count(open=self._open, max_in_flight=self._open)
        self._states: dict[str, int] = {"complete": 0, "faulted": 0, "failed": 0}
        self._by_path: dict[str, Count] = {}
        self._by_credential: dict[str, Count] = {}
        self._failures: dict[str, int] = {}
        self._connections_total = 0
        self.unsolicited = 0

    def reset(self) -> None:
        """Forgets everything but what is open now."""
        self._generation += 1
        self._clear()

    def connected(self, connection: object) -> None:
        """Notes a new connection."""
        self._next_connection += 1
        self._connections_total += 1
        self._connections[connection] = self._next_connection

    def disconnected(self, connection: object) -> None:
        """Notes the end of a connection."""
        self._control.discard(self._connections.pop(connection, 0))
        self._busy.discard(connection)

    def controlled(self, connection: object) -> None:
        """Notes that a connection asks for the mock's own pages, and so does not count."""
        number = self._connections.get(connection, 0)
        if number and number not in self._control:
            self._control.add(number)
            self._connections_total -= 1

    def begin(self, connection: object, record: Record) -> None:
        """Enters a request."""
        self._next_number += 1
        record.number = self._next_number
        record.connection = self._connections.get(connection, 0)
        record.generation = self._generation
        self._open += 1
        for count in self._counts(record):
            count.requests += 1
            count.open += 1
            count.max_in_flight = max(count.max_in_flight, count.open)
        self._records.append(record)
        self._busy.add(connection)

    def received(self, record: Record, body: bytes, size: int, sha256: str) -> None:
        """Notes a request's body; old bodies make room where the ring holds too much."""
        record.read_at = time.time()
        record.body, record.size, record.sha256 = body, size, sha256
        self._with_body.append(record)
        self._body_bytes += len(body)
        while self._body_bytes > _KEPT_BODIES or len(self._with_body) > KEPT_REQUESTS:
            oldest = self._with_body.popleft()
            self._body_bytes -= len(oldest.body)
            oldest.body = b""

    def busy(self, connection: object) -> bool:
        """Whether a request is in flight on that connection."""
        return connection in self._busy

    def end(self, connection: object, record: Record, state: State) -> None:
        """Leaves a request."""
        self._busy.discard(connection)
        record.state = state
        record.ended_at = time.time()
        self._open -= 1
        if record.generation != self._generation:
            self._totals.open -= 1
            return
        for count in self._counts(record):
            count.open -= 1
            count.aborted += state == "aborted"
        if state in self._states:
            self._states[state] += 1

    def failing(self, key: str, first: int) -> bool:
        """Counts a request of this `key`; True for the `first` of them."""
        self._failures[key] = seen = self._failures.get(key, 0) + 1
        return seen <= first

    def last(self, count: int) -> list[Record]:
        """The last `count` records, oldest first."""
        return list(self._records)[-count:] if count > 0 else []

    def stats(self) -> dict[str, Any]:
        """All counters. `connections` are those open now, `connections_total` those since the last reset."""
        return {
            **_shown(self._totals),
            **self._states,
            "connections": len(self._connections) - len(self._control),
            "connections_total": self._connections_total,
            "unsolicited": self.unsolicited,
            "by_path": {path: _shown(count) for path, count in self._by_path.items()},
            "by_credential": {name: _shown(count) for name, count in self._by_credential.items()},
        }

    def _counts(self, record: Record) -> tuple[Count, Count, Count]:
        by_path = _labelled(self._by_path, record.route)
        return self._totals, by_path, _labelled(self._by_credential, record.credential)


def _labelled(counts: dict[str, Count], label: str) -> Count:
    if label not in counts and len(counts) >= _MAX_LABELS:
        label = _OTHER
    return counts.setdefault(label, Count())


def _shown(count: Count) -> dict[str, Any]:
    return msgspec.structs.asdict(count)
