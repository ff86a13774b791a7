"""Which header fields pass, both ways. What is not listed does not pass.

Requests: the few fields the gateway reads, by canonical name. Answers: the few a provider's may keep. Neither way
does a hop-by-hop field, a cookie or a credential get through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from operator import itemgetter
from typing import Any, TypeVar

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.seams import Lines

K = TypeVar("K")
T = TypeVar("T")

_READ = frozenset(
    (
        b"accept", b"anthropic-beta", b"anthropic-version", b"api-key", b"authorization", b"baggage", b"cache-control",
        b"connection", b"content-encoding", b"content-length", b"content-type", b"expect", b"host",
        b"idempotency-key", b"openai-beta", b"openai-organization", b"openai-project", b"te", b"traceparent",
        b"tracestate", b"transfer-encoding", b"upgrade", b"x-api-key", b"x-goog-api-key",
    )
)  # fmt: skip
_LISTS = frozenset((b"accept", b"anthropic-beta", b"baggage", b"cache-control", b"connection", b"te", b"tracestate"))
"""Fields that may stand in a request more than once. Any other one that we read and that does, is refused."""

_NAMES_KEPT = 4096
_ROWS_KEPT = 256
_ROW_SIZE = 2048  # bytes of a row's names: longer ones are not kept

_NAME, _VALUE = itemgetter(0), itemgetter(1)
Names = tuple[bytes, ...]


class _Known(dict[K, T]):
    """What a field name (or a row of them) means, worked out once for each spelling. The spellings of a few clients
    and providers repeat without end; a hostile one fills the table once and no further."""

    def __init__(self, work_out: Callable[[K], T], kept: int, size: Callable[[K], int]) -> None:
        super().__init__()
        self._work_out = work_out
        self._kept = kept
        self._size = size

    def __missing__(self, name: K) -> T:
        meaning = self._work_out(name)
        if len(self) < self._kept and self._size(name) <= _ROW_SIZE:
            self[name] = meaning
        return meaning


def canonical(name: bytes) -> bytes | None:
    """The name under which the gateway reads this field, or None if it does not.

    `x-loopway-…` reads as `x-portkey-…`. An underscore makes a name that other programs may take for the one with a
    dash, so those that would be read are refused instead of ignored.
    """
    lower = name.lower()
    if b"_" in lower and _read_as(lower.replace(b"_", b"-")) is not None:
        raise Refused(Kind.INVALID_REQUEST, "Header names are written with dashes, not underscores.", close=True)
    return _read_as(lower)


def _read_as(lower: bytes) -> bytes | None:
    if lower[:10] == b"x-portkey-":
        return lower
    if lower[:10] == b"x-loopway-":
        return b"x-portkey-" + lower[10:]
    return lower if lower in _READ else None


class _Asked:
    """Where the fields that the gateway reads stand among all of a request: `names` as it knows them, `pick` takes
    their values out of all values."""

    __slots__ = ("names", "pick")

    def __init__(self, known: list[bytes | None]) -> None:
        kept = [index for index, name in enumerate(known) if name is not None]
        self.names = [name for name in known if name is not None]
        # Of one index alone an itemgetter gives no tuple; what stands beside the last name is ignored.
        self.pick: Callable[[Names], Any] = itemgetter(*kept, 0) if kept else _nothing


_ASKED: dict[Names, _Asked] = {}


def read(raw: Lines) -> dict[bytes, bytes]:
    """The fields of a request that the gateway reads. Raises Refused (400) for one given twice."""
    names = tuple(map(_NAME, raw))
    asked = _ASKED.get(names)
    if asked is not None:
        return dict(zip(asked.names, asked.pick(tuple(map(_VALUE, raw))), strict=False))
    found: dict[bytes, bytes] = {}
    known = [_NAMES[name] for name in names]
    for name, (_, value) in zip(known, raw, strict=True):
        if name is None:
            continue
        if name in found:
            if name not in _LISTS:
                text = name.decode("ascii", "replace")
                raise Refused(Kind.INVALID_REQUEST, f"The header {text} was sent twice.", param=text, close=True)
            value = found[name] + b", " + value
        found[name] = value
    if len(_ASKED) < _ROWS_KEPT and len(found) + known.count(None) == len(names) and _size(names) <= _ROW_SIZE:
        _ASKED[names] = _Asked(known)
    return found


def _size(names: Names) -> int:
    return sum(map(len, names))


_NAMES: _Known[bytes, bytes | None] = _Known(canonical, _NAMES_KEPT, len)


# -- towards the provider

_CLIENT_TO_PROVIDER: dict[bytes, bytes] = {
    b"x-portkey-openai-organization": b"openai-organization",
    b"x-portkey-openai-project": b"openai-project",
    b"x-portkey-openai-beta": b"openai-beta",
    b"openai-beta": b"openai-beta",
    b"x-portkey-anthropic-beta": b"anthropic-beta",
    b"anthropic-beta": b"anthropic-beta",
    b"x-portkey-anthropic-version": b"anthropic-version",
    b"anthropic-version": b"anthropic-version",
    b"idempotency-key": b"idempotency-key",
}
_NEVER_FORWARDED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade",
        b"proxy-authorization", b"proxy-authenticate", b"proxy-connection", b"expect", b"cookie", b"authorization",
        b"x-api-key", b"api-key", b"x-goog-api-key", b"content-type", b"content-encoding", b"accept-encoding",
        b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip",
        b"metadata-flavor", b"x-aws-ec2-metadata-token", b"x-google-metadata-request", b"cookie2", b"set-cookie",
        b"http2-settings", b"x-forwarded-port", b"x-forwarded-server",
    )
)  # fmt: skip
_OURS = (b"x-portkey-", b"x-loopway-")
_TOKEN = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")


_NOTHING: dict[bytes, bytes] = {}


def for_provider(headers: dict[bytes, bytes], vendor: str) -> dict[bytes, bytes]:
    """The client's own protocol fields that its provider understands (`vendor`: openai or anthropic)."""
    if _CLIENT_TO_PROVIDER.keys().isdisjoint(headers):
        return _NOTHING
    sent: dict[bytes, bytes] = {}
    prefix = vendor.encode()
    for name, value in headers.items():
        upstream = _CLIENT_TO_PROVIDER.get(name)
        if upstream is not None and (upstream.startswith(prefix) or upstream == b"idempotency-key"):
            sent[upstream] = value
    return sent


def forwarded(names: tuple[str, ...], raw: Lines, stored: Collection[str] = ()) -> bytes:
    """Header lines for the fields a config or request asks to pass on unchanged. Raises Refused (400) for those that
    may never pass. A name H without a field H falls back to `x-portkey-H`, where the SDKs put unknown options.

    What the operator `stored` is left out: a client's own beside it would be a second one, and which of them counts is
    anybody's guess.
    """
    lines = []
    taken = {name.lower().replace("_", "-").encode() for name in stored}
    for name in names:
        lower = name.strip().lower().encode("utf-8", "replace")
        if not lower:
            continue
        # Some programs read an underscore as a dash, so neither spelling gets a forbidden field through.
        dashed = lower.replace(b"_", b"-")
        if not _TOKEN.fullmatch(lower) or dashed in _NEVER_FORWARDED or dashed.startswith(_OURS):
            raise Refused(
                Kind.INVALID_REQUEST, f"The header {name.strip()[:100]!r} cannot be forwarded.", param="forward_headers"
            )
        if dashed in taken:
            continue
        values = [value for other, value in raw if other.lower() == lower]
        if not values:
            values = [value for other, value in raw if other.lower() == b"x-portkey-" + lower]
        lines += [b"%b: %b\r\n" % (lower, value) for value in values]
    return b"".join(lines)


# -- towards the client

_ANSWER = frozenset(
    (
        b"content-type", b"content-encoding", b"content-disposition", b"retry-after", b"retry-after-ms",
        b"x-should-retry", b"request-id", b"x-request-id", b"openai-processing-ms", b"openai-version",
        b"x-amzn-requestid", b"x-amzn-errortype", b"apim-request-id",
    )
)  # fmt: skip
_READ_BY_SDKS = (b"x-request-id", b"request-id")
"""Where OpenAI's and Anthropic's SDKs look for the number that a provider gave the request."""
_NUMBERS = (*_READ_BY_SDKS, b"x-amzn-requestid", b"apim-request-id")
_OF_THE_BODY = frozenset((b"content-type", b"content-encoding", b"content-disposition"))
_RATES = b"x-ratelimit-"
_ANSWER_PREFIXES = (_RATES, b"anthropic-ratelimit-", b"x-amzn-bedrock-")
"""AWS's SDKs know an exception by `x-amzn-errortype`, and read what a call of InvokeModel took from such fields."""


def _passes(name: bytes) -> bool:
    lower = name.lower()
    return lower in _ANSWER or lower.startswith(_ANSWER_PREFIXES)


def _passes_without_body(name: bytes) -> bool:
    return _passes(name) and name.lower() not in _OF_THE_BODY


class _Passing:
    """Which fields of a head pass. `pick` takes their values out of all values, `template` makes lines of them."""

    __slots__ = ("lines", "pick", "template")

    def __init__(self, names: Names, passes: Callable[[bytes], bool], *, renamed: bool = False) -> None:
        """`renamed`: the provider's number of the request stands under the names of other makers' SDKs as well."""
        found = [(at, _spelled(name)) for at, name in enumerate(names) if passes(name) and not _BREAKS.search(name)]
        if renamed:
            lower = {name.lower(): at for at, name in reversed(found)}
            number = next((lower[name] for name in _NUMBERS if name in lower), None)
            found += [(number, name) for name in _READ_BY_SDKS if number is not None and name not in lower]
        kept = [at for at, _ in found]
        self.lines = len(kept)
        self.pick: Callable[[Names], object] = itemgetter(*kept) if kept else _nothing
        self.template = b"".join([b"%b: %%b\r\n" % name.replace(b"%", b"%%") for _, name in found])


def _spelled(name: bytes) -> bytes:
    """Names of rates in lower case, as `limits.shown` looks for them; all others as they came."""
    lower = name.lower()
    return lower if lower.startswith(_RATES) else name


def _nothing(values: Names) -> tuple[()]:
    return ()


class Shape:
    """What the names in an answer's head say, in their order: worked out once for each provider's answers, not for each
    answer. `lengths` and `encodings`: how often the fields are there that tell where its body ends; `length_at`: where
    the length stands, if there is one and nothing else, else -1."""

    __slots__ = ("_at", "bare", "encodings", "length_at", "lengths", "whole")

    def __init__(self, names: Names) -> None:
        lower = [name.lower() for name in names]
        self._at = {name: lower.index(name) for name in lower}
        self.lengths = lower.count(b"content-length")
        self.encodings = lower.count(b"transfer-encoding")
        self.length_at = lower.index(b"content-length") if self.lengths == 1 and not self.encodings else -1
        self.whole = _Passing(names, _passes)
        self.bare = _Passing(names, _passes_without_body, renamed=True)

    def value(self, raw: Lines, name: bytes) -> bytes | None:
        """The first value of a field of the head with this shape; `name` in lower case."""
        at = self._at.get(name)
        return None if at is None else raw[at][1]


_SHAPES: _Known[Names, Shape] = _Known(Shape, _ROWS_KEPT, _size)


NO_SHAPE = Shape(())


def shape_of(raw: Lines) -> Shape:
    """The shape of an answer's head."""
    return _SHAPES[tuple(map(_NAME, raw))]


def for_client(raw: Lines, shape: Shape, *, content_type: bool) -> bytes:
    """The lines of a provider's answer that its client gets; without those about its body where the body is ours."""
    passing = shape.whole if content_type else shape.bare
    out: bytes = passing.template % passing.pick(tuple(map(_VALUE, raw)))
    if out.count(b"\n") != passing.lines or out.count(b"\r") != passing.lines or out.find(b"\0") >= 0:
        # The parser of answers is lenient: a line end inside a value would be a header of the provider's making.
        clean = tuple(field for field in raw if not _BREAKS.search(field[1]))
        return for_client(clean, shape_of(clean), content_type=content_type)
    return out


_BREAKS = re.compile(rb"[\r\n\0]")
