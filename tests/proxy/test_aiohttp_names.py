"""The edge and the transport build on names of aiohttp that it does not promise. An upgrade that moves one fails here.

Whoever raises aiohttp's version reads what these names mean in the new one, not only that they are there.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from aiohttp import TCPConnector, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpRequestParser, HttpResponseParser
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy import server, transport

PAIRS: tuple[tuple[type[Any], type[Any]], ...] = (
    (server.Edge, web.Server),
    (server.Door, RequestHandler),
    (transport.Upstream, ResponseHandler),
    (transport.GuardedConnector, TCPConnector),
    (transport._Arrived, StreamReader),
)
IDS = [ours.__name__ for ours, _ in PAIRS]

# What each class of ours takes from aiohttp's, or puts in the place of what is there. New entries need a reason.
TAKEN = {
    "Edge": "_connections connection_lost connections",
    "Door": "_close _force_close _loop _messages _parser _paused _reading_paused _task_handler _waiter connection_made "
    "data_received force_close pause_writing resume_reading resume_writing start transport",
    "Upstream": "_buffer _drain_helper _loop _parser _pause_transport_reading _paused _reading_paused "
    "_resume_transport_reading _should_close _upgraded connection_lost data_received resume_reading should_close "
    "transport",
    "GuardedConnector": "_acquired _cleanup_handle _conns _factory _get _loop _release_acquired",
    "_Arrived": "_buffer _eof begin_http_chunk_receiving end_http_chunk_receiving feed_data feed_eof",
}


def names(theirs: type[Any]) -> set[str]:
    """The attributes that instances of a class of aiohttp's have."""
    found: set[str] = set()
    for each in theirs.__mro__:
        if each.__module__.startswith("aiohttp"):
            found |= set(vars(each)) | set(re.findall(r"self\.(\w+)", inspect.getsource(each)))
    return {name for name in found if not name.startswith("__")}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=IDS)
def test_every_name_that_is_taken_from_aiohttp_is_still_there(ours: type[Any], theirs: type[Any]) -> None:
    assert set(TAKEN[ours.__name__].split()) - names(theirs) == set()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=IDS)
def test_every_name_that_is_taken_from_aiohttp_is_listed(ours: type[Any], theirs: type[Any]) -> None:
    used = set(re.findall(r"self\.(\w+)", inspect.getsource(ours))) | {name for name in vars(ours) if name[:2] != "__"}
    assert used & names(theirs) <= set(TAKEN[ours.__name__].split())


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=IDS)
def test_no_slot_of_ours_hides_one_of_aiohttps(ours: type[Any], theirs: type[Any]) -> None:
    assert set(vars(ours).get("__slots__", ())) & names(theirs) == set()


def test_parsers_and_pooled_connections_have_what_is_asked_of_them() -> None:
    for parser in (HttpRequestParser, HttpResponseParser):
        assert {"feed_data", "feed_eof"} <= set(dir(parser))
        assert parser.__module__ == "aiohttp._http_parser", (
            "the C parser is what limits and strictness were tested with"
        )
    assert hasattr(HttpRequestParser, "message_consumed")
    assert {"_protocol", "protocol"} <= names(Connection)
    assert "_exception" in names(StreamReader)
