"""Reading a request value by value: what is wrong is raised with its path, what cannot be said is noted by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import Protocol, TypeVar

from msgspec import Raw, Struct

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.packing import FINAL_ANSWER
from adapters.values import ABSENT, NULL, QUOTE, UNREADABLE, first, joined

_T = TypeVar("_T")

_SAFE = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}").fullmatch
_MOST_NAMES = 32
_NONE = Raw(b"[]")
_FALSE = Raw(b"false")


def read(decode: Callable[[Raw], _T], value: Raw, path: str = "") -> _T:
    """The decoded value. Raises InvalidRequest with the path of what is wrong in it; `path` is the value's own, for
    callers that do not add it themselves."""
    try:
        return decode(value)
    except UNREADABLE as error:
        raise under(path, peek.malformed(error, whole=False)) from error


def under(path: str, error: InvalidRequest) -> InvalidRequest:
    """The same error seen from the value that holds the one at fault."""
    inner = error.param or ""
    joint = "." if path and inner and not inner.startswith("[") else ""
    return InvalidRequest(error.message, f"{path}{joint}{inner}" or None, error.code)


class _Request(Protocol):
    dropped: Dropped


_R = TypeVar("_R", bound=_Request)


def read_all(
    request: _R,
    body: bytes,
    readers: Mapping[str, Callable[[_R, Raw], None]],
    harmless: Mapping[str, tuple[Raw, ...]] = MappingProxyType({}),
) -> None:
    """Hands each field that is not null to its reader. The others are dropped by name, but for values that ask for
    nothing. Raises InvalidRequest with the path of what is wrong."""
    for name, value in peek.text_fields(body).items():
        if first(value) == NULL:
            continue
        reader = readers.get(name)
        if reader is None:
            if value not in harmless.get(name, ()):
                request.dropped.add(name)
            continue
        try:
            reader(request, value)
        except InvalidRequest as error:
            raise under(name, error) from error


def member(decode: Callable[[Raw], _T], fields: Mapping[str, Raw], name: str) -> _T | None:
    """One member of an object, or None where it is null or absent."""
    value = fields.get(name, ABSENT)
    if first(value) == NULL:
        return None
    try:
        return read(decode, value)
    except InvalidRequest as error:
        raise under(name, error) from error


def string(value: Raw, path: str) -> Raw:
    """The value itself, undecoded, if it is a JSON string."""
    if first(value) != QUOTE:
        raise InvalidRequest("Expected `str`.", path)
    return value


def missing(name: str, path: str | None = None) -> InvalidRequest:
    """The error for a required field that is not there."""
    return InvalidRequest(f"Object missing required field `{name}`.", path or name)


class Dropped(Struct, gc=False):
    """The names of what could not be translated, each once.

    `blocks` tells whether what follows takes more than OpenAI has words for: `content_blocks`, marks of caching, images
    as results of tools. Then it need not be dropped. `thoughts` is the field of an assistant's message for what it
    thought, where what follows has one, and `details` says that it takes `reasoning_details` as well (see
    `adapters.quirks.Quirks`). `found` are the names. `plain`: so far every name of a tool is one that any provider
    takes.
    """

    blocks: bool = False
    thoughts: str = ""
    details: bool = False
    found: dict[str, None] = {}
    plain: bool = True

    def tool(self, name: str) -> str:
        """Looks at a tool's name, or at whose call it is; gives it back."""
        if _PLAIN(name) is None:
            self.plain = False
        return name

    def thought(self, texts: list[Raw], calls: bool) -> Raw:
        """The value of that field for a message that thought `texts`, JSON strings; absent where there is nothing to
        say. Beside calls there is: who must be given it back takes an empty one for a history that has none."""
        return joined(texts) if self.thoughts and (texts or calls) else ABSENT

    def add(self, name: str) -> None:
        """Names are partly the client's words and end in a header: what is unfit for one is replaced."""
        if name not in self.found and len(self.found) < _MOST_NAMES:
            self.found[_SAFE.sub("_", name[:80])] = None

    def strangers(self, fields: Mapping[str, Raw], known: Set[str], path: str) -> None:
        """Adds the fields of an object that nobody knows, unless they are null or false."""
        if fields.keys() <= known:
            return
        for name, value in fields.items():
            if name not in known and first(value) != NULL and value != _FALSE:
                self.add(f"{path}.{name}")

    def phase(self, value: Raw, name: str) -> None:
        """Adds OpenAI's word for whether its model comments or answers, unless it says what its absence says."""
        if first(value) != NULL and value != FINAL_ANSWER:
            self.add(name)

    def signed(self, value: str | None) -> None:
        """Adds the signature that Gemini gives with a tool call, and which nobody else has a use for."""
        if value:
            self.add("messages[].tool_calls[].function.thought_signature")

    def cited(self, value: Raw) -> None:
        """Adds the sources of a block of an assistant's text, which only Claude knows, where it has some."""
        if first(value) != NULL and value != _NONE:
            self.add("messages[].content_blocks[].citations")

    def names(self) -> tuple[str, ...]:
        """In the order in which they were found."""
        return tuple(self.found)
