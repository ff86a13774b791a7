"""What a trace tells of a request and its answer beside what the ledger knows: parameters, the answer's id and model.

A `Witness` stands between the pipeline and the client's connection, for requests whose trace is sampled and for no
others. It keeps numbers of the request's body, and the two ends of the answer, in which ids and reasons stand; nothing
of them goes into a span but what `proxy.telemetry.names` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from adapters.values import UNREADABLE
from proxy.bodies import Through
from proxy.seams import Client, Lines
from proxy.telemetry import names
from proxy.trace import Span

_END = 2048  # bytes kept of either end of an answer
_NUMBER = re.compile(rb"-?\d{1,15}(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?")
_ID = re.compile(rb'"(?:id|responseId)"\s*:\s*"([\w.:-]{1,128})"')
_MODEL = re.compile(rb'"(?:model|modelVersion)"\s*:\s*"([\w.:/@-]{1,128})"')
_REASON = re.compile(rb'"(?:finish_reason|stop_reason|finishReason)"\s*:\s*"([\w-]{1,40})"')
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Attributes = dict[str, str | int | float | bool | list[str]]


class Witness(Through):
    """A client that is listened to; what it hears goes to the request's span."""

    __slots__ = ("_span",)

    def __init__(self, client: Client, span: Span, raw_headers: Lines) -> None:
        super().__init__(client)
        self._span = span
        span.host = next((value for name, value in raw_headers if name.lower() == b"host"), b"")

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer."""
        self._hear(body)
        self._client.respond(status, head, body)

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes."""
        self._hear(data)
        self._client.write(data, end)

    def arrived(self, limit: int) -> bytes | None:
        """The request's whole body, if it is here."""
        whole = self._client.arrived(limit)
        if whole is not None:
            self._read(whole)
        return whole

    async def body(self, limit: int) -> bytes:
        """The request's whole body."""
        whole = await self._client.body(limit)
        self._read(whole)
        return whole

    def _read(self, whole: bytes) -> None:
        self._span.asked = asked(whole)
        self._span.size = len(whole)

    def _hear(self, data: bytes) -> None:
        span = self._span
        if len(span.first) < _END:
            span.first += data[: _END - len(span.first)]
        span.last = (span.last + data[-_END:])[-_END:]


def asked(body: bytes) -> dict[str, int | float]:
    """The parameters of a request in any dialect that are plain numbers, by their names in the conventions."""
    fields = _fields(body)
    fields.update(_fields(bytes(fields.get("generationConfig", b""))))
    out: dict[str, int | float] = {}
    for field, name in names.PARAMETERS.items():
        value = bytes(fields.get(field, b""))
        if len(value) < 32 and _NUMBER.fullmatch(value):
            out[name] = float(value) if name in names.FLOATS else int(float(value))
    return out


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    if body.lstrip()[:1] != b"{":
        return {}
    try:
        return _decode(body)
    except UNREADABLE:
        return {}


def about_answer(span: Span) -> Attributes:
    """What the two ends of a good answer say of it."""
    out: Attributes = {}
    for name, pattern in ((names.RESPONSE_ID, _ID), (names.RESPONSE_MODEL, _MODEL)):
        found = pattern.search(span.first) or pattern.search(span.last)
        if found:
            out[name] = found[1].decode()
    reasons = dict.fromkeys(each.decode() for each in _REASON.findall(span.last) or _REASON.findall(span.first))
    if reasons:
        out[names.FINISH_REASONS] = list(reasons)[:8]
    return out


def about_address(authority: bytes) -> Mapping[str, str | int]:
    """`server.address` and `server.port` of a Host header."""
    host, mark, port = authority.decode("latin-1").rpartition(":")
    if not mark or not port.isdigit():
        host, port = authority.decode("latin-1"), ""
    out: dict[str, str | int] = {names.ADDRESS: host.strip("[]")[:255]} if host else {}
    if port:
        out[names.PORT] = int(port[:5])
    return out
