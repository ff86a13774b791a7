"""What a client sends, from bytes to messages: aiohttp's C parser, its limits, and how it is fed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from proxy.server.check import LINE_LIMIT

if TYPE_CHECKING:
    from aiohttp.web_server import Server

_READ_LIMIT = 1 << 18
_FIELD_LIMIT = 32768
_HEADERS = 100
_PIPELINED = 2  # requests that are parsed before the first is served; the second one is never answered


class Messages(RequestHandler):
    """A connection's incoming half: which messages came, and whether one is being served."""

    __slots__ = ("_quick", "_serving", "_whole")

    _messages: list[Any]  # type: ignore[assignment] # a deque would be 700 bytes for each connection

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=0,  # the edge's one timer closes idle connections
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_HEADERS,
            read_bufsize=_READ_LIMIT,
        )
        self._messages = []
        self._serving = False
        self._whole = False  # whether the last request came in one read
        self._quick = False  # whether the parser is shown heads only, see `_parse`

    def _parse(self, data: bytes) -> tuple[Sequence[Any], bool]:
        """What bytes come to: messages with their bodies, and whether they ask for another protocol.

        Where the last request came in one read, so does the next one, as a rule: then the parser is shown its head
        only, and what follows is its body, if it is exactly as long as the head says. (For every body aiohttp's parser
        makes a `StreamReader`, a tenth of all the Python that a request costs here.) If it is not, a parser that takes
        bodies begins anew.
        """
        if self._whole and not self._serving and not self._messages:
            if not self._quick:
                self._quick = True
                self._parser = self._new_parser()
            end = _end_of_head(data)
            found = self._at_once(data, end) if end > 3 else None
            if found is not None:
                return ((found, data[end:]),), False
        if self._quick:
            self._quick = False
            self._parser = self._new_parser()
        assert self._parser is not None
        messages, upgraded, _ = self._parser.feed_data(data)
        # What follows it in the same read is the beginning of the next, and is in this parser.
        self._whole = len(messages) == 1 and not upgraded and _ends_with(data, messages[0][0], _end_of_head(data))
        return messages, upgraded

    def _at_once(self, data: bytes, end: int) -> RawRequestMessage | None:
        """The one message in `data`, if its body is what follows its head's `end`."""
        assert self._parser is not None
        try:
            messages, upgraded, _ = self._parser.feed_data(data[:end])
        except HttpProcessingError:
            return None  # the other parser says the same
        if len(messages) != 1 or upgraded:
            return None
        message: RawRequestMessage = messages[0][0]
        return message if _ends_with(data, message, end) else None

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            _READ_LIMIT,
            max_line_size=LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_HEADERS,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=0 if self._quick else _PIPELINED,
            response_with_body=not self._quick,
        )

    def resume_reading(self, resume_parser: bool = True) -> None:
        """As in the transport: aiohttp's reader asks at every read, mostly for nothing."""
        if self._reading_paused:
            super().resume_reading(resume_parser)


def _end_of_head(data: bytes) -> int:
    """Where a head ends in what was read; 3 if it does not."""
    return data.find(b"\r\n\r\n") + 4


def _ends_with(data: bytes, message: RawRequestMessage, end: int) -> bool:
    """Whether a message whose head ends at `end` is all that was read: its body ends where `data` does."""
    length = message.headers.get(CONTENT_LENGTH, "0")
    return end > 3 and not message.chunked and length.isdigit() and int(length) == len(data) - end
