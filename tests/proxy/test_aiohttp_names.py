"""aiohttp's private names that the gateway builds on: each is there, with the shape that is relied on.

The names are read from the source, so that a new one is covered the day it is used.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientRequest, TCPConnector, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpRequestParser, HttpResponseParser, RawRequestMessage, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from yarl import URL

import proxy
from proxy.transport.body import Arrived


def body_reader() -> StreamReader:
    """A body as the parser makes one."""
    loop = asyncio.get_running_loop()
    return StreamReader(ResponseHandler(loop), 1 << 16, loop=loop)


def handler_of_aiohttp() -> RequestHandler:
    """A connection of aiohttp's own server."""
    return RequestHandler(web.Server(unserved), loop=asyncio.get_running_loop())  # type: ignore[arg-type]


BASES: dict[str, Callable[[], Any]] = {
    "Edge": lambda: web.Server(unserved),  # type: ignore[arg-type]
    "Door": handler_of_aiohttp,
    "Messages": handler_of_aiohttp,
    "Answer": lambda: ResponseHandler(asyncio.get_running_loop()),
    "Upstream": lambda: ResponseHandler(asyncio.get_running_loop()),
    "Arrived": body_reader,
    "GuardedConnector": TCPConnector,
}


async def unserved(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError


FILES = sorted(file for room in ("server/*.py", "transport/*.py") for file in Path(proxy.__file__).parent.glob(room))
NOTHING_PRIVATE = {"AbstractResolver", "msgspec.Struct", "Protocol"}


def classes() -> dict[str, ast.ClassDef]:
    """Ours that are made on top of aiohttp's."""
    return {
        node.name: node
        for file in FILES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and set(map(ast.unparse, node.bases)) - NOTHING_PRIVATE
    }


def own_names(node: ast.ClassDef) -> set[str]:
    """Methods, slots, and class attributes; a class without slots also owns what its `__init__` sets."""
    names: set[str] = set()
    slots = False
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(part.name)
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "__slots__":
            slots = True
            assert isinstance(part.value, ast.Tuple)
            names |= {each.value for each in part.value.elts if isinstance(each, ast.Constant)}  # type: ignore[misc]
    if not slots:
        (init,) = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        for part in ast.walk(init):
            if (
                isinstance(part, ast.Attribute)
                and isinstance(part.ctx, ast.Store)
                and ast.unparse(part.value) == "self"
            ):
                names.add(part.attr)
    return names


def private_names(node: ast.ClassDef) -> set[str]:
    """The private attributes of `self` that the class uses and does not own."""
    used = {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and ast.unparse(part.value) == "self"
        and part.attr.startswith("_")
        and not part.attr.startswith("__")
    }
    ours = classes()
    bases = [ours[base] for base in map(ast.unparse, node.bases) if base in ours]
    return used.difference(*map(own_names, (node, *bases)))


@pytest.mark.parametrize("name", classes())
async def test_every_private_name_that_a_class_of_ours_uses_is_one_of_its_base(name: str) -> None:
    base = BASES[name]()
    missing = {each for each in private_names(classes()[name]) if not hasattr(base, each)}
    assert missing == set()
    if isinstance(base, TCPConnector):
        await base.close()


def test_the_classes_are_those_that_the_names_are_checked_for() -> None:
    assert set(classes()) == set(BASES)


async def test_our_own_attributes_hide_none_of_aiohttps() -> None:
    """A slot of ours with the name of one of theirs would be two attributes, or one that both write."""
    for name, node in classes().items():
        base = BASES[name]()
        mine = own_names(node)
        theirs = {each for each in dir(type(base)) if not each.startswith("__")} | set(getattr(base, "__dict__", {}))
        meant = {each for each in mine & theirs if callable(getattr(type(base), each, None))}
        assert mine & theirs - meant <= {"_messages", "_parser", "_factory", "_resolver", "should_close"}, name
        if isinstance(base, TCPConnector):
            await base.close()


# -- the parsers


def test_the_parser_is_the_one_in_c() -> None:
    assert HttpRequestParser.__module__ == "aiohttp._http_parser"
    assert HttpResponseParser.__module__ == "aiohttp._http_parser"
    assert RawRequestMessage.__module__ == RawResponseMessage.__module__ == "aiohttp._http_parser"


async def test_the_request_parser_gives_messages_with_their_bodies() -> None:
    loop = asyncio.get_running_loop()
    handler = RequestHandler(web.Server(unserved), loop=loop)  # type: ignore[arg-type]
    parser = HttpRequestParser(
        handler, loop, 1 << 16, max_line_size=8190, max_field_size=8190, max_headers=100, auto_decompress=False
    )
    result = parser.feed_data(b"POST /v1/x?y HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
    assert len(result) == 3
    ((message, body),) = result[0]
    assert (message.method, message.path, message.should_close, message.upgrade, message.chunked) == (
        *("POST", "/v1/x?y", False, False),
        False,
    )
    assert message.raw_headers == ((b"Host", b"h"), (b"Content-Length", b"2"))
    assert (message.version.major, message.version.minor) == (1, 1)
    assert body.is_eof()
    assert body.read_nowait(-1) == b"ab"
    assert callable(parser.message_consumed)
    ((_, none),) = parser.feed_data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")[0]
    assert none is EMPTY_PAYLOAD


async def test_the_response_parser_gives_messages_with_their_bodies() -> None:
    loop = asyncio.get_running_loop()
    handler = ResponseHandler(loop)
    parser = HttpResponseParser(
        handler,
        loop,
        1 << 16,
        max_line_size=8190,
        max_field_size=8190,
        max_headers=128,
        payload_exception=aiohttp.ClientPayloadError,
        read_until_eof=True,
        auto_decompress=False,
    )
    messages, upgraded, tail = parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    ((message, body),) = messages
    assert (message.code, message.chunked, upgraded, tail) == (200, True, False, b"")
    assert not body.is_eof()
    assert isinstance(body._buffer, deque)
    assert list(body._buffer) == [b"a"]
    assert (body._eof, body._exception) == (False, None)
    body.__class__ = Arrived
    parser.feed_data(b"2\r\nbc\r\n0\r\n\r\n")
    assert list(body._buffer) == [b"a", b"bc"]
    assert body._eof


async def test_a_body_cut_off_is_an_error_at_the_end_of_the_bytes() -> None:
    loop = asyncio.get_running_loop()
    for head in (b"Transfer-Encoding: chunked\r\n\r\n5\r\na", b"Content-Length: 5\r\n\r\na"):
        parser = HttpResponseParser(
            ResponseHandler(loop), loop, 1 << 16, payload_exception=aiohttp.ClientPayloadError, read_until_eof=True
        )
        ((_, body),) = parser.feed_data(b"HTTP/1.1 200 OK\r\n" + head)[0]
        with pytest.raises((aiohttp.http_exceptions.HttpProcessingError, aiohttp.ClientPayloadError)):
            parser.feed_eof()
        assert not body._eof


# -- protocols and pool


async def test_the_protocols_keep_their_state_under_these_names() -> None:
    loop = asyncio.get_running_loop()
    upstream = ResponseHandler(loop)
    assert (upstream._should_close, upstream._upgraded, upstream._paused, upstream._reading_paused) == (False,) * 4
    assert upstream.transport is None
    assert upstream._parser is None
    assert inspect.iscoroutinefunction(upstream._drain_helper)
    door = RequestHandler(web.Server(unserved), loop=loop)  # type: ignore[arg-type]
    assert (door._close, door._force_close, door._waiter, door._task_handler) == (False, False, None, None)
    for name in ("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing", "start"):
        assert callable(getattr(door, name))
    assert inspect.iscoroutinefunction(RequestHandler.start)


async def test_the_server_lists_its_connections_and_can_cancel_their_handlers() -> None:
    edge = web.Server(unserved, handler_cancellation=True)  # type: ignore[arg-type]
    assert edge.handler_cancellation is True
    assert edge._connections == {}
    assert list(inspect.signature(edge.connection_lost).parameters) == ["handler", "exc"]


async def test_the_pool_keeps_and_lends_under_these_names() -> None:
    connector = TCPConnector()
    try:
        assert callable(connector._factory)
        assert connector._acquired == set()
        assert list(inspect.signature(connector._release_acquired).parameters)[:2] == ["key", "proto"]
        assert list(inspect.signature(connector._get).parameters) == ["key", "traces"]
        assert inspect.iscoroutinefunction(connector._get)
        assert list(inspect.signature(connector.connect).parameters) == ["req", "traces", "timeout"]
        key = ClientRequest("POST", URL("http://127.0.0.1:1"), loop=asyncio.get_running_loop()).connection_key
        assert isinstance(connector._conns[key], deque)
        assert (key.host, key.port, key.is_ssl) == ("127.0.0.1", 1, False)
        assert "socket_factory" in inspect.signature(TCPConnector.__init__).parameters
        lent = Connection(connector, key, ResponseHandler(asyncio.get_running_loop()), asyncio.get_running_loop())
        assert lent.protocol is lent._protocol
        lent._protocol = None
        assert lent.closed
    finally:
        await connector.close()
