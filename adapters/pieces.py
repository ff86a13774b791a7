"""What is charged by the piece and not by the token: as answers tell of it, and as requests ask for it.

Providers rarely count these for themselves, so they are counted where they are seen: a search of OpenAI's is an item of
the answer, one of Google's a word in what an answer rests on, a picture an entry of a list. Nothing here is asked of
answers and requests without such words.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.types import Count, Dialect, Rare
from adapters.values import UNREADABLE

SEARCHES = 10
"""Searches that a request is taken to make at most where it sets no limit of its own."""
_MOST = 10_000  # of anything that a request may ask for

# OpenAI's Responses. Opening or looking through a page that was found costs nothing:
# https://developers.openai.com/api/docs/guides/tools-web-search


class _Action(Struct, gc=False):
    type: str = "search"


class _Place(Struct, gc=False):
    container_id: str | None = None


class _Item(Struct, gc=False):
    type: str = ""
    action: Raw = Raw(b"")
    container_id: str | None = None
    environment: Raw = Raw(b"")


class _Response(Struct, gc=False):
    output: list[_Item] | None = None


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_action = msgspec.json.Decoder(_Action | None).decode
_decode_place = msgspec.json.Decoder(_Place | None).decode
_CALLS = (b"_search_call", b"interpreter_call", b"shell_call", b"generation_call")


def of_response(body: bytes) -> Rare | None:
    """What a whole response has used beside tokens."""
    if not any(word in body for word in _CALLS):
        return None
    try:
        items = _decode_response(body).output or ()
        searches = files = drawn = 0
        rooms: set[str] = set()
        for item in items:
            if item.type == "web_search_call":
                searches += _searched(item.action)
            elif item.type == "file_search_call":
                files += 1
            elif item.type == "code_interpreter_call":
                rooms.add(item.container_id or "")
            elif item.type == "shell_call" and b"container_id" in bytes(item.environment):
                place = _decode_place(item.environment)
                rooms.add((place and place.container_id) or "")
            elif item.type == "image_generation_call":
                drawn += 1
    except UNREADABLE:
        return None
    # What a picture within an answer costs depends on the model that drew it, which the answer does not name.
    found = Rare(searches=searches, files=files, sessions=len(rooms), uncounted=drawn > 0)
    return None if found == NOTHING else found


def _searched(action: Raw) -> bool:
    """Whether a call of the web's tool was a search; where it says nothing it was."""
    if bytes(action)[:1] != b"{":
        return True
    found = _decode_action(action)
    return found is None or found.type == "search"


# Gemini's grounding: https://ai.google.dev/gemini-api/docs/google-search and maps-grounding


GROUNDED = (b"SearchQueries", b'"maps"')
"""Words of a grounding without one of which nothing was searched."""
# A list of strings, as JSON has it: within a string no quote stands by itself, so these words are no answer's text.
_QUERIES = re.compile(rb'"(?:web|image)SearchQueries"\s*:\s*(\[(?:[^]"\\]|"(?:[^"\\]|\\.)*")*\])')
_MAPS = re.compile(rb'"maps"\s*:\s*\{')
_decode_queries = msgspec.json.Decoder(list[str]).decode


def of_grounding(text: bytes) -> Rare | None:
    """What an answer of Gemini's, whole, a part or several events of it, has searched. The same query twice, as streams
    may say it, is one; an empty one is none."""
    if not any(word in text for word in GROUNDED):
        return None
    queries: set[str] = set()
    for found in _QUERIES.finditer(text):
        try:
            queries.update(_decode_queries(found[1]))
        except UNREADABLE:
            continue
    searches, maps = len(queries - {""}), _MAPS.search(text) is not None
    return Rare(searches=searches, maps=int(maps)) if searches or maps else None


# What passes through: bodies that tell no usage, by what was asked for.

PAID = {
    path: kind
    for kind, paths in {
        "images": ("/images/generations", "/images/edits", "/images/variations"),
        "speech": ("/audio/speech",),
        "sound": ("/audio/transcriptions", "/audio/translations"),
        "pages": ("/ocr",),
        "others": ("/videos", "/videos/generations"),
    }.items()
    for path in paths
}
"""Ends of paths whose answers cost something, below the version."""


class _Heard(Struct, gc=False):
    duration: float | str | None = None


class _Pages(Struct, gc=False):
    pages_processed: Count | None = None


class _Read(Struct, gc=False):
    usage_info: _Pages | None = None
    document_annotation: Raw = Raw(b"null")


class _Spoken(Struct, gc=False):
    input: str = ""


_decode_heard = msgspec.json.Decoder(_Heard).decode
_decode_read = msgspec.json.Decoder(_Read).decode
_decode_spoken = msgspec.json.Decoder(_Spoken).decode


def paid(path: str) -> str | None:
    """What is charged on a path that passes through: a word of `PAID`'s, None where it is not known to be anything."""
    return next((kind for end, kind in PAID.items() if path.endswith(end)), None)


def of_request(kind: str, body: bytes) -> Rare | None:
    """What a request says of the pieces that its answer will not tell of."""
    if kind != "speech":
        return None
    try:
        return Rare(characters=len(_decode_spoken(body).input))
    except UNREADABLE:
        return None


def of_answer(kind: str, body: bytes) -> Rare:
    """What a whole answer of such a path comes to. What cannot be counted is not nothing."""
    try:
        if kind == "sound":
            seconds = float(_decode_heard(body).duration or 0)
            return Rare(seconds=seconds) if 0 < seconds < _MOST * 100 else UNCOUNTED
        if kind == "pages":
            read = _decode_read(body)
            pages = None if read.usage_info is None else read.usage_info.pages_processed
            # Notes on what was read are charged by the page as well, at another price.
            return UNCOUNTED if not pages else Rare(pages=pages, uncounted=bytes(read.document_annotation) != b"null")
    except (*UNREADABLE, ValueError):
        pass
    return UNCOUNTED


# What a request asks for, before it is sent.


class _Tool(Struct, gc=False):
    type: str | None = None
    max_uses: int | None = None
    googleSearch: Raw = Raw(b"")
    google_search: Raw = Raw(b"")
    googleSearchRetrieval: Raw = Raw(b"")
    googleMaps: Raw = Raw(b"")
    google_maps: Raw = Raw(b"")


class _Live(Struct, gc=False):
    mode: str | None = None
    max_search_results: int | None = None


class _Asked(Struct, gc=False):
    tools: list[_Tool] | None = None
    max_tool_calls: int | None = None
    web_search_options: Raw = Raw(b"null")
    search_parameters: _Live | None = None
    n: int | None = None
    input: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode
_SOUND = 4000  # bytes of a second of sound, where it is packed tightly
_NUMBER = re.compile(rb'name="n"\r\n(?:[^\r\n]+\r\n)?\r\n([0-9]{1,4})\r\n')
_SOURCES = 20  # what xAI's live search brings without a limit of its own
_OF_THE_WEB = ("web_search", "x_search", "browser_search")


def asked_for(body: bytes, dialect: Dialect, path: str = "") -> Rare | None:
    """What a request may use beside tokens, at most: its own limits, or what is usual. Of one that passes through it is
    known by its path, of others only where one of `search`, `interpreter`, `maps`, `shell` and `image_generation` is a
    part of a word in it. Never raises."""
    kind = paid(path) if dialect is Dialect.PASSTHROUGH else None
    try:
        asked = _decode_asked(body)
    except UNREADABLE:
        return None if kind is None else _of_form(kind, body)
    if kind is not None:
        images = min(max(asked.n or 1, 1), _MOST) if kind == "images" else 0
        characters = len(asked.input) if kind == "speech" and isinstance(asked.input, str) else 0
        return Rare(images=images, characters=characters, size="high")
    bound = SEARCHES if asked.max_tool_calls is None else min(max(asked.max_tool_calls, 0), _MOST)
    searches = files = sessions = maps = sources = drawn = 0
    for tool in asked.tools or ():
        name = tool.type or ""
        if name.startswith(_OF_THE_WEB):
            searches += bound if tool.max_uses is None else min(max(tool.max_uses, 0), _MOST)
        elif name == "file_search":
            files = bound
        elif name in ("code_interpreter", "shell"):
            sessions = 1
        elif name == "image_generation":
            drawn += 1
        elif tool.googleSearch or tool.google_search or tool.googleSearchRetrieval:
            searches += bound
        if tool.googleMaps or tool.google_maps:
            maps = 1
    if bytes(asked.web_search_options) != b"null":
        searches += SEARCHES
    live = asked.search_parameters
    if live is not None and live.mode != "off":
        sources = min(max(live.max_search_results or _SOURCES, 0), _MOST)
    if not (searches or files or sessions or maps or sources or drawn):
        return None
    return Rare(
        searches=searches, files=files, sessions=sessions, maps=maps, sources=sources, uncounted=drawn > 0, size="high"
    )


def _of_form(kind: str, body: bytes) -> Rare | None:
    """What a form may use, as far as its size and its fields tell."""
    if kind == "sound":
        return Rare(seconds=len(body) / _SOUND)
    if kind != "images":
        return None
    drawn = _NUMBER.search(body)
    return Rare(images=min(max(int(drawn[1]), 1), _MOST) if drawn else 1, size="high")


NOTHING = Rare()
UNCOUNTED = Rare(uncounted=True)


def added(one: Rare | None, other: Rare | None) -> Rare | None:
    """Both together, as one answer that went on elsewhere."""
    if one is None or other is None:
        return one or other
    values: dict[str, Any] = {}
    for name in Rare.__struct_fields__:
        here, there = getattr(one, name), getattr(other, name)
        values[name] = (here or there) if isinstance(here, str | bool | None) else here + there
    return Rare(**values)
