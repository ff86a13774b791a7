"""Names of tools that an upstream refuses: too long for it, or with characters that it does not take.

In a chat request they are made fit, and what was made for which is told, so that answers can have the client's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from functools import partial
from hashlib import sha256
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.types import Dialect
from adapters.values import BRACE, BRACKET, QUOTE, UNREADABLE, first

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode

_MARK = 10
"""Hexadecimal digits of its hash that a made name ends in: what tells apart those that begin alike."""

Change: TypeAlias = Callable[[str], str]
"""Takes a tool's name, gives the one that shall stand in its place."""
_Inside: TypeAlias = Callable[[Raw, Change], Raw]


class Fit(NamedTuple):
    """A chat request in which all names fit, and the client's names, as JSON, by those that were made for them."""

    body: bytes
    names: Mapping[bytes, bytes]


class Rule:
    """What names of tools an upstream takes: ASCII letters, digits, `_` and those in `also`, of which `-` is the last;
    `most` of them at most. With `word` the first is a letter or `_`."""

    __slots__ = ("_bad", "_fits", "_most", "_unfit", "_word")

    def __init__(self, most: int, also: str = "-", word: bool = False) -> None:
        taken = f"A-Za-z0-9_{also}"
        shape = f"[{'A-Za-z_' if word else taken}][{taken}]{{0,{most - 1}}}"
        self._fits = re.compile(shape).fullmatch
        self._unfit = re.compile(rb'"name"\s*:\s*"(?!%b")' % shape.encode()).search
        self._bad = re.compile(f"[^{taken}]")
        self._most = most
        self._word = word

    def fits(self, name: str) -> bool:
        """Whether the upstream takes this name."""
        return self._fits(name) is not None

    def made(self, name: str, taken: Container[str] = ()) -> str:
        """A name that fits for one that does not: its beginning and a hash of all of it, so that it is the same in each
        turn and like no other. It is none of those `taken`."""
        head = self._bad.sub("_", name[: self._most])
        if self._word and not self.fits(head):
            head = f"_{head}"
        head = head[: self._most - _MARK - 1]
        made = f"{head}_{_hash(name)}"
        while made in taken:
            made = f"{head}_{_hash(made + name)}"
        return made

    def fit(self, body: bytes) -> Fit | None:
        """The chat request with names that fit. None where they all do, as nearly always, which costs one search; or
        where it cannot be read: what is wrong with it is not said here."""
        if self._unfit(body) is None:
            return None
        seen: dict[str, None] = {}

        def look(name: str) -> str:
            seen[name] = None
            return name

        try:
            renamed(body, look)
            made: dict[str, str] = {}
            taken = set(seen)
            for name in sorted(each for each in seen if each and not self.fits(each)):
                made[name] = self.made(name, taken)
                taken.add(made[name])
            if not made:
                return None
            changed = renamed(body, lambda name: made.get(name, name))
        except (InvalidRequest, *UNREADABLE):
            return None
        return Fit(changed, {each.encode(): _encode(name) for name, each in made.items()})


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_MARK]


_USUAL = Rule(64)
_GOOGLE = Rule(64, ".-", word=True)

RULES: Mapping[Dialect, Rule] = {
    # "Must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64": OpenAI's reference.
    Dialect.OPENAI_CHAT: _USUAL,
    Dialect.OPENAI_RESPONSES: _USUAL,
    # The same in Mistral's refusal, and in Bedrock's reference (`ToolSpecification`).
    Dialect.MISTRAL_CHAT: _USUAL,
    Dialect.BEDROCK_CONVERSE: _USUAL,
    # `^[a-zA-Z0-9_-]{1,128}$` in Anthropic's refusal; it was 64 once, and Vertex AI does not tell.
    Dialect.ANTHROPIC_MESSAGES: Rule(128),
    Dialect.VERTEX_ANTHROPIC: _USUAL,
    # Google's newer references have colons and 128 characters, its refusals neither: what both take fits.
    Dialect.GEMINI_GENERATE: _GOOGLE,
    Dialect.VERTEX_OPENAPI: Rule(64, word=True),
    Dialect.VERTEX_ENDPOINT: _USUAL,
    # "Only the characters `a-z`, `A-Z`, `0-9`, `_` and must not begin with a digit": Cohere's SDK. No length is told.
    Dialect.COHERE_CHAT: Rule(64, "", word=True),
}
"""What each upstream takes that gets a chat which was translated."""


# Where a chat request has names of tools.


def renamed(body: bytes, change: Change) -> bytes:
    """The body with another name for each tool; every other value keeps its bytes. Raises InvalidRequest and whatever
    decoding raises."""
    top = peek.fields(body)
    for field, inside in _REQUEST.items():
        if field in top:
            top[field] = inside(top[field], change)
    return _encode(top)


def _fields(raw: Raw, change: Change, insides: Mapping[str, _Inside]) -> Raw:
    """An object with the names in some of its fields changed; whatever else it is stays."""
    if first(raw) != BRACE:
        return raw
    fields = _object(raw)
    for name in fields.keys() & insides.keys():
        fields[name] = insides[name](fields[name], change)
    return Raw(_encode(fields))


def _each(raw: Raw, change: Change, inside: _Inside) -> Raw:
    """The same of a list's items."""
    return Raw(_encode([inside(item, change) for item in _list(raw)])) if first(raw) == BRACKET else raw


def _name(raw: Raw, change: Change) -> Raw:
    if first(raw) != QUOTE:
        return raw
    name = _str(raw)
    new = change(name)
    return raw if new == name else Raw(_encode(new))


def _tool(raw: Raw, change: Change) -> Raw:
    """A tool or a choice of one: in an object, flat as Responses have it, or Anthropic's own. What a provider brings
    itself has a name that fits."""
    return _fields(raw, change, _TOOL)


def _named_by(field: str, words: tuple[bytes, ...], insides: Mapping[str, _Inside]) -> _Inside:
    """Objects whose `field` is one of `words` have a tool's `name`; of all, the fields in `insides`."""

    def inside(raw: Raw, change: Change) -> Raw:
        if first(raw) != BRACE:
            return raw
        own = bytes(_object(raw).get(field, b"")) in words
        return _fields(raw, change, {**insides, "name": _name} if own else insides)

    return inside


_FUNCTION: _Inside = partial(_fields, insides={"name": _name})
_TOOL: Mapping[str, _Inside] = {"function": _FUNCTION, "custom": _FUNCTION, "name": _name}
_LIST: _Inside = partial(_each, inside=_tool)
_BLOCKS: _Inside = partial(_each, inside=_named_by("type", (b'"tool_use"',), {}))
_MESSAGE = _named_by(
    "role",
    (b'"tool"', b'"function"'),
    {"tool_calls": _LIST, "function_call": _FUNCTION, "content": _BLOCKS, "content_blocks": _BLOCKS},
)
_REQUEST: Mapping[str, _Inside] = {
    "tools": _LIST,
    "functions": partial(_each, inside=_FUNCTION),
    "messages": partial(_each, inside=_MESSAGE),
    "function_call": _FUNCTION,
    "tool_choice": partial(_fields, insides={**_TOOL, "allowed_tools": partial(_fields, insides={"tools": _LIST})}),
}
"""The fields of a chat request with names in them; choices that are words have none."""
