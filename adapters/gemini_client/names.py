"""One spelling for the fields of a Gemini request.

Google takes `systemInstruction` and `system_instruction` alike, and its clients send both. What is data (arguments,
results, schemas, labels) keeps its names; text is never decoded. A body without an underscore between letters of a key
is given back as it is.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.values import BRACE, BRACKET, NULL, first

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode

_NULL = Raw(b"null")
_SNAKE = re.compile(rb'[^\\]"[a-z]+(?:_[a-z]+)+"\s*:')
_HUMP = re.compile(r"_([a-z])")

_PART: dict[str, Any] = {
    "inlineData": {},
    "fileData": {},
    "functionCall": {},
    "functionResponse": {"parts": [{"inlineData": {}, "fileData": {}}]},
    "executableCode": {},
    "codeExecutionResult": {},
    "videoMetadata": {},
    "toolCall": {},
    "toolResponse": {},
}
_CONTENT: dict[str, Any] = {"parts": [_PART]}
_REQUEST: dict[str, Any] = {
    "contents": [_CONTENT],
    "systemInstruction": _CONTENT,
    "tools": [{"functionDeclarations": [{}], "googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {}},
    "generationConfig": {"thinkingConfig": {}, "imageConfig": {}},
    "safetySettings": [{}],
    # Of embeddings and token counts.
    "content": _CONTENT,
    "requests": [{"content": _CONTENT}],
}
_REQUEST["generateContentRequest"] = {name: _REQUEST[name] for name in ("contents", "systemInstruction", "tools")}
"""The objects whose field names are Google's: what stands in `[…]` is each item of a list. All else is data."""


def camel(body: bytes) -> bytes:
    """The body with Google's own fields in camel case. Raises what msgspec raises for a body that is no object,
    and InvalidRequest for a field in both spellings."""
    if _SNAKE.search(body) is None:
        return body
    return _encode(_renamed(Raw(body), _REQUEST))


def _renamed(value: Raw, shape: Any) -> Any:
    if isinstance(shape, list):
        return [_renamed(each, shape[0]) for each in _list(value)] if first(value) == BRACKET else value
    if first(value) != BRACE:
        return value
    made: dict[str, Any] = {}
    for name, each in _object(value).items():
        name = _HUMP.sub(lambda found: found[1].upper(), name)
        if name in made and first(each) == NULL:
            continue
        if made.get(name, _NULL) != _NULL:
            raise InvalidRequest("The field is there twice, in two spellings.", name)
        inner = shape.get(name)
        made[name] = each if inner is None else _renamed(each, inner)
    return made
