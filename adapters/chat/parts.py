"""What the parts of a chat's messages have, and what of a message is said twice, for all upstream codecs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from adapters.chat.wire import EMPTY_STRING, NULL, Message
from adapters.reading import Dropped
from adapters.values import ABSENT, BRACKET, PARAGRAPH, QUOTE, UNREADABLE, first

_MARKS = "cache_control prompt_cache_breakpoint"

FIELDS: Mapping[str, str] = {
    "text": f"{_MARKS} text citations phase",
    "refusal": f"{_MARKS} refusal",
    "image_url": f"{_MARKS} image_url",
    "video_url": f"{_MARKS} video_url",
    "input_audio": f"{_MARKS} input_audio",
    "file": f"{_MARKS} file",
    "document": f"{_MARKS} document",
    "thinking": f"{_MARKS} thinking signature",
    "redacted_thinking": f"{_MARKS} data",
    "gemini_part": f"{_MARKS} part",
    "openai_item": f"{_MARKS} item after phase",
}
"""The fields of each type of content part and block, for `adapters.known.Belongs`."""

_NOTHING = (None, "", NULL, EMPTY_STRING)


def one_source(file: object, dropped: Dropped, order: tuple[str, ...] = ("file_url", "file_data", "file_id")) -> None:
    """Names the sources of a file beside the first that it has in this `order`, which is taken."""
    given = [name for name in order if getattr(file, name) not in _NOTHING]
    for name in given[1:]:
        dropped.add(f"messages[].content[].file.{name}")


class _Said(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


_decode_said = msgspec.json.Decoder(list[_Said]).decode
_decode_str = msgspec.json.Decoder(str).decode


def _parts(value: Raw) -> list[_Said]:
    """The texts in a message's content or blocks."""
    kind = first(value)
    if kind == QUOTE:
        return [_Said("text", _decode_str(value))]
    return _decode_said(value) if kind == BRACKET else []


def has_text(message: Message) -> bool:
    """Whether a message's blocks tell a text: then its content says that again. Else who kept only the thinking sends
    it there alone."""
    try:
        return any(each.type == "text" for each in _parts(message.content_blocks))
    except UNREADABLE:
        # Whoever reads them says what is wrong with them.
        return False


def refused_as_well(message: Message) -> Raw:
    """The refusal beside what a message says, a JSON string; absent where there is none, or where its parts say it."""
    refusal = message.refusal
    if first(refusal) != QUOTE or refusal == EMPTY_STRING:
        return ABSENT
    try:
        text, said = _decode_str(refusal), _parts(message.content_blocks)
        if not any(each.type == "text" for each in said):
            said += _parts(message.content)
    except UNREADABLE:
        # Whoever reads it says what is wrong with it.
        return refusal
    parts = [each.refusal or "" for each in said]
    return ABSENT if text in parts or text == "".join(parts) or any(text == each.text for each in said) else refusal


GAPS = (PARAGRAPH, "")
"""What `content` has between texts that do not follow one another."""


def said_otherwise(message: Message, dropped: Dropped) -> None:
    """Names the content of an assistant's message whose blocks, which count, have another text."""
    content = message.content
    if content in (NULL, EMPTY_STRING, ABSENT):
        return
    try:
        shown, told = _parts(content), _parts(message.content_blocks)
        refused = {*(each.refusal for each in told), _texts(_parts(message.refusal))}
    except UNREADABLE:
        shown, told, refused = [], [], set()
    known = all(each.type == "text" or (each.type == "refusal" and each.refusal in refused) for each in shown)
    if not shown or not known or _texts(shown).replace(*GAPS) not in ("", _texts(told).replace(*GAPS)):
        dropped.add("messages[].content")


def _texts(parts: list[_Said]) -> str:
    return "".join(each.text or "" for each in parts if each.type == "text")
