"""An answer as it arrives on a connection: from bytes to head and body.

aiohttp's C parser reads; here is how it is fed, and what is taken from it instead of its queue and its readers.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.headers import NO_SHAPE, Shape, shape_of
from proxy.seams import Lines
from proxy.transport.body import NOTHING, Arrived, Held, shed

_PARSE_LIMIT = 1 << 18  # above uvloop's largest read, so that one read never pauses the parser
_EMPTY_STATUS = frozenset((204, 304))
_WITH_BODY = frozenset(range(200, 600)) - _EMPTY_STATUS
_MAX_INFORMATIONAL = 8
_NO_MESSAGES: deque[Any] = deque()
_CHUNKS_FOLLOW = b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")


class Answer(ResponseHandler):
    """What has arrived of the answer to one request."""

    # A thousand open streams are a thousand of these: slots and lists instead of a dict and deques are 3 KB for each.
    __slots__ = (
        "_body",
        "_by_length",
        "_chunked",
        "_first",
        "_have_head",
        "_head_waiter",
        "_informational",
        "_quick",
        "_whole",
        "raw_headers",
        "shape",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._buffer = _NO_MESSAGES  # aiohttp's queue of answers, which are taken straight from the parser here
        self.status = 0
        self.raw_headers: Lines = ()
        self.shape = NO_SHAPE
        self._have_head = False
        self._head_waiter: asyncio.Future[None] | None = None
        self._body: StreamReader | Held = NOTHING
        self._informational = 0
        self._chunked = False
        self._by_length = False
        self._first = b""  # the first read of an answer, until the second
        self._whole = False  # whether the answer came in one read, with a length
        self._quick = False  # whether the parser is shown heads only, see `_at_once`

    def _new_parser(self) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            _PARSE_LIMIT,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=128,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
            response_with_body=not self._quick,
        )

    @property
    def complete(self) -> bool:
        return self._have_head and self._body._eof

    @property
    def framed(self) -> bool:
        return self._chunked or self._by_length

    @property
    def should_close(self) -> bool:
        return self._should_close or self._upgraded

    def _read_first(self, data: bytes) -> str:
        """Takes the first read of an answer, and tells what is wrong with it; "" if nothing is. Raises
        HttpProcessingError."""
        self._first = data
        if self._quick and self._at_once(data):
            return ""
        parser = self._parser
        if parser is None:
            return ""
        fault, rest = "", data
        end = data.find(b"\r\n\r\n") + 4
        if 3 < end < len(data):
            # The head alone, so that what follows it does not pass through aiohttp's reader, see `Arrived`.
            messages, upgraded, _ = parser.feed_data(data[:end])
            fault = self._read_heads(messages, upgraded)
            rest = data[end:]
        if not fault:
            messages, upgraded, _ = parser.feed_data(rest)
            if messages or upgraded:
                fault = self._read_heads(messages, upgraded)
        if self._have_head and self._body._eof:
            self._whole = self.shape.lengths == 1
        return fault

    def _at_once(self, data: bytes) -> bool:
        """Takes an answer that is all in one read: the parser sees its head only, and what follows is the body, if it
        is exactly as long as the head says. aiohttp's parser makes a `StreamReader` for every body, a seventh of all
        the Python that a whole answer costs here. Anything else: False, and a parser that takes it all."""
        end = data.find(b"\r\n\r\n") + 4
        parser = self._parser
        if end > 3 and parser is not None:
            messages: Sequence[tuple[RawResponseMessage, Any]] = ()
            try:
                messages, _, _ = parser.feed_data(data[:end])
            except HttpProcessingError:
                pass  # the other parser says the same
            if len(messages) == 1:
                message = messages[0][0]
                raw = message.raw_headers
                shape = shape_of(raw)
                at = shape.length_at
                if (
                    at >= 0
                    and raw[at][1] == b"%d" % (len(data) - end)
                    and message.code in _WITH_BODY
                    and message.version[0] == 1
                ):
                    self._whole = self._by_length = True
                    self._chunked = False
                    self._take_head(message, shape, Held([data[end:]]))
                    return True
        self._quick = False
        self._parser = self._new_parser()
        return False

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp's reader asks for this at every read; without a pause there is nothing to do, and doing it all the
        same would run the parser twice for each read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _read_heads(self, messages: Any, upgraded: bool) -> str:
        """Takes the head that the parser found, and tells what is wrong with it; "" if nothing is."""
        message: RawResponseMessage
        for message, body in messages:
            if 100 <= message.code < 200:
                self._informational += 1
                if upgraded or message.code == 101 or self._informational > _MAX_INFORMATIONAL:
                    return "The provider switched protocols or sent no final answer."
                continue
            if self._have_head:
                # A second answer to one request. The first one stands; the connection is poisoned.
                self._should_close = True
                return ""
            raw = message.raw_headers
            shape = shape_of(raw)
            empty = message.code in _EMPTY_STATUS
            self._chunked = message.chunked
            self._by_length = shape.lengths > 0 or empty
            if not 200 <= message.code < 600 or message.version[0] != 1:
                return "The provider's answer is not valid HTTP."
            if shape.lengths + shape.encodings > 1 or (shape.encodings and not _is_chunked(shape, raw)):
                return "The provider's answer has contradictory lengths."
            if empty or body is EMPTY_PAYLOAD:
                body = NOTHING
            else:
                body.__class__ = Arrived
                body._buffer = list(body._buffer)
                body._http_chunk_splits = None
            self._take_head(message, shape, body)
        return ""

    def _take_head(self, message: RawResponseMessage, shape: Shape, body: StreamReader | Held) -> None:
        if message.should_close:
            self._should_close = True
        self.status = message.code
        self.raw_headers = message.raw_headers
        self.shape = shape
        self._body = body
        self._have_head = True

    def _forget_head(self) -> None:
        """Before the second read: goes on with a fresh parser, if the first one stands between two chunks.

        aiohttp's parser keeps every header field until the next answer's head, which for an open stream is 6 KB that
        nobody reads. A fresh one, told only that chunks follow, keeps none.
        """
        data, self._first = self._first, b""
        if not self._have_head or not self._chunked or self._parser is None or self._body._eof:
            return
        end_of_head = data.find(b"\r\n\r\n")
        if end_of_head < 0 or not _between_chunks(data, end_of_head + 4):
            return
        parser = self._new_parser()
        messages, _, _ = parser.feed_data(_CHUNKS_FOLLOW)
        body = messages[0][1]
        body.__class__ = Arrived
        body._buffer = self._body._buffer
        body._http_chunk_splits = None
        shed(body)
        self._body, self._parser = body, parser


def _is_chunked(shape: Shape, raw: Lines) -> bool:
    return (shape.value(raw, b"transfer-encoding") or b"").lower() == b"chunked"


def _between_chunks(data: bytes, at: int) -> bool:
    """Whether `data` is, from there on, whole chunks and nothing else."""
    while at < len(data):
        head = _CHUNK_HEAD.match(data, at)
        if head is None:
            return False
        at = head.end() + int(head[1], 16)
        if data[at : at + 2] != b"\r\n":
            return False
        at += 2
    return at == len(data)
