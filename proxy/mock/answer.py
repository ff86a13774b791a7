"""The nouns between sockets and dialects: what came in, what shall go out, and how a provider family refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from proxy.mock.modes import Mode
from proxy.mock.multipart import Form

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"

Pairs = tuple[tuple[str, str], ...]


class Incoming(msgspec.Struct, kw_only=True):
    """A request, read to its end. `path` is without query and mode prefix; `headers` has lower-case names.

    `json` is the decoded body of a JSON route, its model already without a mode suffix; `form` what a multipart body
    held. Other bodies are known by `size` and `sha256` (hex) alone.
    """

    method: str
    path: str
    query: str
    pairs: Pairs
    headers: Mapping[str, str]
    mode: Mode
    size: int
    sha256: str
    json: dict[str, Any] = {}
    form: Form | None = None

    @property
    def echo(self) -> str | None:
        """The request as JSON text where the mode asks for it, else None."""
        return msgspec.json.encode(self.described(self.pairs)).decode() if self.mode.echo else None

    def described(self, pairs: Pairs) -> dict[str, Any]:
        """What a request can be recognised by, with `pairs` for its headers."""
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": pairs,
            "body_size": self.size,
            "body_sha256": self.sha256,
        }


class Whole(msgspec.Struct, frozen=True):
    """An answer in one body."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Pairs = ()


class Stream(msgspec.Struct, frozen=True):
    """An answer in events. `error` is the event this dialect reports a failure with once a stream has begun."""

    events: Iterable[bytes]
    error: bytes
    content_type: str = SSE


Answer = Whole | Stream


class Refusal(Exception):
    """The provider says no. `type` None: what the family calls that status."""

    def __init__(
        self, status: int, message: str, *, type: str | None = None, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code


class Family(NamedTuple):
    """What all routes of one provider share: error bodies, header fields, the credential check."""

    render: Callable[[Refusal, str], bytes]
    """(refusal, sha256 of the request) to the error body."""
    headers: Callable[[str], Pairs]
    """sha256 of the request to the header fields of every answer."""
    authenticate: Callable[[Mapping[str, str]], None]
    """Raises Refusal when the credential is missing or wrong."""
    refusal: Callable[[int], Refusal]
    """What this provider says with that status."""


class Route(NamedTuple):
    """Who answers a path. `json` says whether the body must be a JSON object, `outside` that the path need not begin
    with /v1/."""

    family: Family
    answer: Callable[[Incoming], Answer]
    json: bool = True
    outside: bool = False


def bearer(headers: Mapping[str, str]) -> str:
    """The bearer token of a request, empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def encode(value: Any) -> bytes:
    """`value` as JSON."""
    return msgspec.json.encode(value)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list joined by blanks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))


def attachments_of(content: Any, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """The non-text parts of a message's content, named by `kinds` (part type to what it is)."""
    if not isinstance(content, list):
        return ()
    return tuple(kinds[p["type"]] for p in content if isinstance(p, dict) and p.get("type") in kinds)


def optional_int(body: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that holds an integer."""
    return next((body[name] for name in names if type(body.get(name)) is int), None)


def strings(value: Any) -> tuple[str, ...]:
    """A string or a list of them (anything else: none) as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
