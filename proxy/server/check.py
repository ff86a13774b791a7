"""The strict check that stands before everything: what two programs might read differently goes no further."""

from __future__ import annotations

import re

from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from adapters.errors import Kind
from proxy.errors import Refused

LINE_LIMIT = 8190
"""Bytes of a request's line."""
TOO_MANY = "Too many headers received"
"""What aiohttp's parser says of a message with more headers than it was told to take."""
HEAD_LIMIT = 65536
"""Bytes of names and values that all headers of a request may have together."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
# What might be another path to another reader: empty and dot segments in any spelling, escapes that are none or stand
# for a control character, and everything that must not stand in a target at all.
_BAD_PATH = re.compile(
    r"(?:/|%2[fF]){2}|(?:/|%2[fF])\.\.?(?:/|;|%2[fF]|$)|%(?![0-9A-Fa-f]{2})|%(?:2[eE]|5[cC]|[01][0-9A-Fa-f]|7[fF])"
    r"|[^\x21\x22\x24-\x5b\x5d-\x7e]"
)
_BAD_QUERY = re.compile(r"[^\x21\x22\x24-\x7e]")


def check(message: RawRequestMessage, found: dict[bytes, bytes]) -> None:
    """Refuses what an edge must not guess about. Raises Refused; the connection closes with the answer."""
    if message.version not in (HttpVersion11, HttpVersion10):
        raise _refusal("Only HTTP/1.0 and HTTP/1.1 are spoken here.", 505)
    if message.method not in _METHODS:
        raise _refusal("This method is not supported.", 501)
    if (message.upgrade or b"upgrade" in found) and found.get(b"upgrade", b"").lower() != b"h2c":
        # Java's client offers HTTP/2 with every request, and reads an answer in HTTP/1.1 as that it is not wanted.
        raise _refusal("Upgrading the connection is not supported.", 400)
    encoding = found.get(b"transfer-encoding")
    if encoding is not None:
        if encoding.lower() != b"chunked" or message.version == HttpVersion10:
            raise _refusal("The only transfer encoding accepted is chunked, in HTTP/1.1.", 501)
        if b"content-length" in found:
            raise _refusal("A request has a content length or a transfer encoding, not both.", 400)
    length = found.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 18):
        raise _refusal("The content length is not a number.", 400)
    expect = found.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise _refusal("The only expectation met is 100-continue.", 417)


def check_address(target: str, host: bytes | None, version: HttpVersion) -> None:
    """The same for what a message is addressed to."""
    if host is None:
        if version == HttpVersion11:
            raise _refusal("The Host header is missing.", 400)
    elif not _HOST.fullmatch(host):
        raise _refusal("The Host header is malformed.", 400)
    if not _PLAIN_PATH.fullmatch(target):
        _check_target(target)


def check_size(message: RawRequestMessage) -> None:
    """The same for how much its headers are. It costs a look at each of them."""
    if sum(len(name) + len(value) for name, value in message.raw_headers) > HEAD_LIMIT:
        raise _refusal("The headers are too large.", 431)


def _check_target(target: str) -> None:
    path, _, query = target.partition("?")
    if path[:1] != "/":
        raise _refusal("The request target must be a path.", 400)
    if _BAD_PATH.search(path):
        hint = " It has `//` in it: does the base URL end with a slash?" if "//" in path else ""
        raise _refusal(f"The path is malformed.{hint}", 400)
    if _BAD_QUERY.search(query):
        raise _refusal("The query is malformed.", 400)


def unreadable(error: HttpProcessingError) -> Refused:
    """The parser could make no message of what came."""
    if isinstance(error, LineTooLong):
        if error.args[1] in (LINE_LIMIT, str(LINE_LIMIT)):
            return _refusal(f"The request's line is longer than {LINE_LIMIT} bytes.", 414)
        return _refusal("A header is too long.", 431)
    if error.message == TOO_MANY:
        return _refusal("The request has too many headers.", 431)
    return _refusal("The request is not valid HTTP/1.1.", 400)


def too_large(limit: int) -> Refused:
    """A body has more bytes than may be held."""
    return Refused(
        Kind.TOO_LARGE, f"The request's body is larger than {limit} bytes.", code="request_too_large", close=True
    )


def bad_body() -> Refused:
    """A body's bytes are not what its head announced."""
    return Refused(Kind.INVALID_REQUEST, "The request's body is not framed as its head says.", close=True)


def _refusal(what: str, status: int) -> Refused:
    return Refused(Kind.INVALID_REQUEST, what, status=status, close=True)
