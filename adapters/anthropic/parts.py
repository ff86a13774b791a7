"""Content parts of chat messages → Anthropic's content blocks.

Text parts are the same on both sides and keep their bytes, `cache_control` with its ttl included. A type that OpenAI
does not have is taken for one of Anthropic's own blocks and forwarded as it is.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from adapters.anthropic.wire import Part
from adapters.chat.parts import FIELDS, one_source
from adapters.chat.request import data_url, name_in
from adapters.chat.wire import NULL, File
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped

Block: TypeAlias = Raw | dict[str, Any]
Make: TypeAlias = Callable[[Part, Raw, str, Dropped], Block | None]
"""Makes a block of one part; the path is for errors. None: nothing comes of it."""

_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_EPHEMERAL = Raw(b'{"type":"ephemeral"}')

_MEDIA = {"image/jpg": "image/jpeg"}
"""Names that clients use and Anthropic refuses."""


def blocks(
    raw: Raw,
    path: str,
    dropped: Dropped,
    table: Mapping[str, Make] | None = None,
    reader: Reader[list[Part]] | None = None,
) -> list[Block]:
    """The blocks for a JSON array of content parts. Blank texts, which Anthropic refuses, are left out. `table` holds
    the types of parts that a cloud's own dialect around these blocks reads differently, `reader` is its own."""
    table = PARTS if table is None else table
    reader = READER if reader is None else reader
    made: list[Block] = []
    for index, (part, each) in enumerate(zip(reader.read(raw, dropped, path), _decode_raws(raw), strict=True)):
        at = f"{path}[{index}]"
        make = table.get(part.type)
        _BELONGS.heed(part, part.type, dropped, at)
        if part.prompt_cache_breakpoint != NULL:
            each = _marked(part, each, dropped)
        block = each if make is None else make(part, each, at, dropped)
        if block is not None:
            made.append(block)
    return made


def _bare(raw: Raw, name: str) -> Raw:
    """The part without a field."""
    return Raw(_encode({each: value for each, value in _decode_fields(raw).items() if each != name}))


def _marked(part: Part, raw: Raw, dropped: Dropped) -> Raw:
    """The part with Anthropic's mark of caching in the place of OpenAI's, which it would refuse."""
    fields = {name: value for name, value in _decode_fields(raw).items() if name != "prompt_cache_breakpoint"}
    if b'"ttl"' in bytes(part.prompt_cache_breakpoint):
        # OpenAI's are other lifetimes than Anthropic's.
        dropped.add("messages[].content[].prompt_cache_breakpoint.ttl")
    if part.cache_control == NULL:
        part.cache_control = fields["cache_control"] = _EPHEMERAL
    return Raw(_encode(fields))


def text(content: str | Raw, cache_control: Raw = NULL) -> dict[str, Any]:
    """A text block; `content` is the text, or the JSON string of it."""
    return cached({"type": "text", "text": content}, cache_control)


def cached(block: dict[str, Any], cache_control: Raw) -> dict[str, Any]:
    """The same block, with the client's cache_control if it gave one."""
    if cache_control != NULL:
        block["cache_control"] = cache_control
    return block


def _text(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block | None:
    if part.text is None:
        raise InvalidRequest("A text part needs `text`.", f"{path}.text")
    if part.phase != NULL:
        dropped.phase(part.phase, "messages[].content_blocks[].phase")
        raw = _bare(raw, "phase")
    return None if _is_blank(part.text) else raw


def _is_blank(said: str) -> bool:
    return not said or said.isspace()


def _refusal(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block | None:
    return None if part.refusal is None or _is_blank(part.refusal) else text(part.refusal, part.cache_control)


def _image(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block:
    image = part.image_url
    if image is None:
        raise InvalidRequest("An image_url part needs `image_url`.", f"{path}.image_url")
    if isinstance(image, str):
        url = image
    else:
        url = image.url
        if image.detail not in (None, "auto"):
            dropped.add("messages[].content[].image_url.detail")
    at = f"{path}.image_url.url"
    if url[:5] == "data:":
        media, data = data_url(url, at, dropped)
        if media != "application/pdf" and not media.startswith("image/"):
            raise InvalidRequest("An image_url may hold an image or a PDF.", at)
        return cached(_base64(media, data), part.cache_control)
    _need_web(url, at)
    return cached({"type": "image", "source": {"type": "url", "url": url}}, part.cache_control)


def _file(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block:
    return file_block(part, path, dropped, is_text)


def file_block(part: Part, path: str, dropped: Dropped, reads: Callable[[str], bool]) -> Block:
    """The block of a file. `reads` says which media types are read as plain text."""
    file = part.file
    if file is None:
        raise InvalidRequest("A file part needs `file`.", f"{path}.file")
    if file.file_url is not None:
        _need_web(file.file_url, f"{path}.file.file_url")
        block = _linked({"type": "url", "url": file.file_url}, file.mime_type, dropped)
    elif file.file_data is not None:
        block = _inline(file, file.file_data, f"{path}.file.file_data", reads, dropped)
    elif file.file_id is not None:
        block = _linked({"type": "file", "file_id": file.file_id}, file.mime_type, dropped)
    else:
        raise InvalidRequest("A file part needs `file_data`, `file_url` or `file_id`.", f"{path}.file")
    one_source(file, dropped)
    name = file.filename if file.filename is not None else name_in(file.file_data)
    if name is not None and block["type"] == "document":
        block["title"] = name
    elif name is not None:
        dropped.add("messages[].content[].file.filename")
    return cached(block, part.cache_control)


def _audio(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block:
    raise InvalidRequest("Anthropic's models take no audio.", f"{path}.type")


_SIGNED_ELSEWHERE = re.compile(rb'"signature"\s*:\s*"(?:google:|openai:|mistral:|loopway\.)')
_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')
_THINKING = "messages[].content_blocks[].thinking"


def signed_elsewhere(raw: Raw, dropped: Dropped) -> bool:
    """Whether a thought's signature says that it is another maker's: such a one is left out, and named."""
    found = _SIGNED_ELSEWHERE.search(bytes(raw)) is not None
    if found:
        dropped.add(_THINKING)
    return found


def _thinking(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block | None:
    # Anthropic refuses thoughts without its own signature: those of another maker's model, in a history of several.
    data = bytes(raw)
    if signed_elsewhere(raw, dropped):
        return None
    if b'"signature"' in data and _UNSIGNED.search(data) is None:
        return raw
    dropped.add(_THINKING)
    return None


def _foreign(part: Part, raw: Raw, path: str, dropped: Dropped) -> Block | None:
    dropped.add(f"messages[].content_blocks[].{part.type}")
    return None


PARTS: dict[str, Make] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
    "thinking": _thinking,
    "gemini_part": _foreign,
    "openai_item": _foreign,
}
_READ = ("refusal", "image_url", "file", "input_audio", "video_url")
READER = Reader(msgspec.json.Decoder(list[Part]).decode, Part, _READ)
_BELONGS = Belongs(Part, {kind: FIELDS[kind] for kind in _READ})
"""Of parts that cross whole, Anthropic says itself what it does not know."""


_TEXTUAL = frozenset(
    ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml",
     "application/javascript", "application/x-javascript", "application/typescript", "application/x-python",
     "application/sql")
)  # fmt: skip


def is_text(media: str) -> bool:
    """Whether what is of this media type can be read as plain text, which Anthropic takes beside PDF alone."""
    return media.startswith("text/") or media in _TEXTUAL


def _inline(file: File, data: str, path: str, reads: Callable[[str], bool], dropped: Dropped) -> dict[str, Any]:
    encoded, media = True, file.mime_type
    if data[:5] == "data:":
        media, data = data_url(data, path, dropped, media, (file.filename or name_in(data) or "",))
    elif media == "text/plain":
        # Plain text without a data URL around it comes as it is.
        encoded = False
    if media is not None and reads(media):
        # Anthropic has one name for all of them.
        text_of = _plain(data, path) if encoded else data
        return _document({"type": "text", "media_type": "text/plain", "data": text_of})
    return _base64(media or "application/pdf", data)


def _base64(media: str, data: str) -> dict[str, Any]:
    media = _MEDIA.get(media, media)
    source = {"type": "base64", "media_type": media, "data": data}
    return {"type": "image", "source": source} if media.startswith("image/") else _document(source)


def _linked(source: dict[str, Any], media: str | None, dropped: Dropped) -> dict[str, Any]:
    """A file that is elsewhere: whether it is an image is all that Anthropic is told of its type."""
    if media is not None and media.startswith("image/"):
        return {"type": "image", "source": source}
    if media not in (None, "application/pdf"):
        dropped.add("messages[].content[].file.mime_type")
    return _document(source)


def _document(source: dict[str, Any]) -> dict[str, Any]:
    return {"type": "document", "source": source}


def _plain(data: str, path: str) -> str:
    try:
        return binascii.a2b_base64(data).decode()
    except ValueError as error:
        raise InvalidRequest("The text is not base64 of UTF-8.", path) from error


def _need_web(url: str, path: str) -> None:
    if not url.lower().startswith(("https://", "http://")):
        raise InvalidRequest("The address must be an http(s) or data URL.", path)
