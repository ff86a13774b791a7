"""JSON values as they came: what tells their type, what stands for an absent one, how strings are joined, and what
decoding raises. None is decoded here."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding strange bytes raises."""

ABSENT = Raw(b"")

PARAGRAPH = "\n\n"
"""What stands between two texts that did not follow one another where they were said."""
BLANK_LINE = Raw(b'"\\n\\n"')
"""The same as a JSON string."""

QUOTE, BRACE, BRACKET, NULL = b'"{[n'
"""First bytes of JSON strings, objects, arrays and null."""


def first(raw: Raw) -> int:
    """The first byte of a value, which tells its JSON type; NULL for an absent one."""
    return memoryview(raw)[0] if raw else NULL


_BLANK = re.compile(rb'"(?: |\\[nrtf]|\\u00(?:0[9a-dA-D]|20|[aA]0))*"').fullmatch
_LONGEST = 100


def is_blank(raw: Raw) -> bool:
    """Whether a JSON string is empty or nothing but white space, of some length at most."""
    return len(raw) < _LONGEST and _BLANK(raw) is not None


def joined(texts: list[Raw], separator: bytes = b"") -> Raw:
    """One JSON string made of several, none of them decoded. `separator` is the inside of a JSON string."""
    if len(texts) == 1:
        return texts[0]
    return Raw(b'"%b"' % separator.join([memoryview(text)[1:-1] for text in texts]))


def on_one_line(raw: Raw) -> bytes:
    """A JSON value that an upstream may have spread over several lines, as an event can hold it."""
    text = bytes(raw)
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text
