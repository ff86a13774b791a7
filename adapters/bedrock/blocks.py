"""Anthropic's content blocks → Converse's, and the parts of chat messages that only Converse takes: audio, video,
objects in S3."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic import parts
from adapters.anthropic.parts import Make
from adapters.anthropic.turns import Conversation
from adapters.anthropic.wire import Part
from adapters.bedrock.citations import Given, sent
from adapters.bedrock.models import Family
from adapters.bedrock.wire import closed
from adapters.chat.parts import one_source
from adapters.chat.request import data_url
from adapters.chat.wire import NULL
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped
from adapters.values import BRACKET, QUOTE, first, is_blank

_CACHE_POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
_AN_HOUR = "1h"

_FORMATS = {
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "image/jpg": "jpeg",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "video/3gpp": "three_gp",
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
}
"""Formats that are not the media type's own second half."""

_OWN_TEXTS = ("text/markdown", "text/csv", "text/html")

_EXTENSIONS = {"jpg": "jpeg", "3gp": "three_gp", "markdown": "md", "htm": "html"}
_IMAGES = ("png", "jpeg", "gif", "webp")
_VIDEOS = ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp")
_unfit = re.compile(r"[^A-Za-z0-9\s()\[\]-]+").sub
_LONGEST = 190
"""Characters of a name; the service takes 200, and some are for telling two of the same name apart."""
_FILENAME = "messages[].content[].file.filename"
_S3 = "s3://"


class _Source(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    uri: str = ""


class _Block(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Any of Anthropic's blocks: the union of the fields that some type of block has."""

    type: str
    text: Raw = NULL
    source: _Source | None = None
    title: str | None = None
    context: Raw = NULL
    id: str = ""
    name: str = ""
    input: Raw = NULL
    tool_use_id: str = ""
    content: Raw = NULL
    is_error: bool | None = None
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    cache_control: Raw = NULL
    citations: Raw = NULL


class _Marked(msgspec.Struct, gc=False):
    cache_control: Raw = NULL


class _Mark(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str = ""
    ttl: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_marked = msgspec.json.Decoder(_Marked).decode
_decode_block = msgspec.json.Decoder(_Block).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode


class Blocks:
    """Translates blocks. One per request: names of documents must differ within one."""

    __slots__ = ("_family", "_names", "_said", "dropped")

    def __init__(self, dropped: Dropped, of: Family) -> None:
        self.dropped = dropped
        self._family = of
        self._names: set[str] = set()
        self._said = False

    def cache_point(self, mark: Raw, path: str, where: str) -> list[dict[str, Any]]:
        """The block that ends what is cached, for a `cache_control`; none, and a name, `where` the model takes none.
        Five minutes are everybody's default; a lifetime that the model cannot be told is named."""
        if where not in self._family.cached:
            self.dropped.add("cache_control")
            return []
        ttl = _MARK.read(mark, self.dropped, path, "cache_control").ttl
        if ttl == _AN_HOUR and self._family.lasting:
            return [{"cachePoint": {"type": "default", "ttl": ttl}}]
        if ttl not in (None, "5m"):
            self.dropped.add("cache_control.ttl")
        return [_CACHE_POINT]

    def all(self, content: Any, path: str, *, said: bool = False) -> list[dict[str, Any]]:
        """Converse's blocks for the content of a turn: a JSON string, or a list of blocks. `said`: by the model."""
        self._said = said
        if isinstance(content, Raw):
            if first(content) == QUOTE:
                return [{"text": content}]
            content = _decode_raws(content)
        made: list[dict[str, Any]] = []
        for index, each in enumerate(content):
            given = each if isinstance(each, Raw) else Raw(_encode(each))
            at = f"{path}[{index}]"
            block = _BLOCK.read(given, self.dropped, at)
            _BELONGS.heed(block, block.type, self.dropped, at)
            make = _BLOCKS.get(block.type)
            if make is None:
                self.dropped.add(f"messages[].content[].{block.type[:40]}")
                continue
            if block.type == "thinking" and not block.signature and self._family.name == "anthropic":
                # Claude refuses thoughts that it did not sign.
                self.dropped.add("messages[].content_blocks[].thinking")
                continue
            made.append(make(self, block, at))
            if block.cache_control != NULL:
                where = "text" if block.type == "text" else "results"
                made += self.cache_point(block.cache_control, f"{at}.cache_control", where)
        return made

    def _text(self, block: _Block, path: str) -> dict[str, Any]:
        cited = self._cited(block.citations, path) if self._said and first(block.citations) == BRACKET else ()
        if cited:
            return {"citationsContent": {"content": [{"text": block.text}], "citations": cited}}
        self.dropped.cited(block.citations)
        return {"text": block.text}

    def _cited(self, citations: Raw, path: str) -> list[dict[str, Any]]:
        """What the model itself cited; what only others cite so is named."""
        given = _CITED.read(citations, self.dropped, f"{path}.citations", _CITATIONS)
        found = [source for each in given if (source := sent(each, self._family.cites)) is not None]
        if any(each.encrypted_index for each in given):
            self.dropped.add(f"{_CITATIONS}[].encrypted_index")  # for Anthropic's own servers
        if len(found) < len(given):
            self.dropped.cited(citations)
        return found

    def _media(self, block: _Block, path: str) -> dict[str, Any]:
        source = block.source
        if source is None:
            raise InvalidRequest("The block needs `source`.", f"{path}.source")
        _ORIGIN.heed(source, source.type, self.dropped, f"{path}.source")
        kind, form = _kind(source, block.type)
        made: dict[str, Any] = {"format": form, "source": _bytes(source, path)}
        if kind == "document":
            made["name"] = self._name(block.title or "", form)
            more = {"citations": block.citations, "context": block.context}
            return {kind: {**made, **{name: value for name, value in more.items() if value != NULL}}}
        if block.title:
            self.dropped.add(_FILENAME)
        return {kind: made}

    def _name(self, title: str, form: str) -> str:
        """A name as the service wants them: of few characters, and no two alike. The ending that says what the format
        says already is no loss; any other change is named."""
        stem, dot, ending = title.rpartition(".")
        if dot and stem and _EXTENSIONS.get(ending.lower(), ending.lower()) == form:
            title = stem
        wanted = " ".join(_unfit(" ", title).split())[:_LONGEST] or "document"
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted} {count}"
        self._names.add(name)
        if title and name != title:
            self.dropped.add(_FILENAME)
        return name

    def _tool_use(self, block: _Block, path: str) -> dict[str, Any]:
        given = Raw(b"{}") if block.input == NULL else block.input
        return {"toolUse": {"toolUseId": block.id, "name": block.name, "input": given}}

    def _tool_result(self, block: _Block, path: str) -> dict[str, Any]:
        content = block.content
        said = [] if content == NULL or is_blank(content) else self.all(content, f"{path}.content")
        if block.cache_control == NULL and any("cachePoint" in each for each in said):
            # There is no place for a mark in a result: it stands right behind.
            block.cache_control = _mark_in(content)
        shown = [each for each in said if "cachePoint" not in each]
        result: dict[str, Any] = {"toolUseId": block.tool_use_id, "content": shown}
        if block.is_error:
            result["status"] = "error"
        return {"toolResult": result}

    def _thinking(self, block: _Block, path: str) -> dict[str, Any]:
        text: dict[str, Any] = {"text": block.thinking}
        if block.signature:
            text["signature"] = block.signature
        return {"reasoningContent": {"reasoningText": text}}

    def _redacted(self, block: _Block, path: str) -> dict[str, Any]:
        return {"reasoningContent": {"redactedContent": closed(block.data)}}


def _mark_in(content: Raw) -> Raw:
    """The last mark of caching in the blocks of a result."""
    marks = [block.cache_control for block in map(_decode_marked, _decode_raws(content))]
    return next(mark for mark in reversed(marks) if mark != NULL)


_BLOCKS: dict[str, Callable[[Blocks, _Block, str], dict[str, Any]]] = {
    "text": Blocks._text,
    "image": Blocks._media,
    "document": Blocks._media,
    "audio": Blocks._media,
    "tool_use": Blocks._tool_use,
    "tool_result": Blocks._tool_result,
    "thinking": Blocks._thinking,
    "redacted_thinking": Blocks._redacted,
}
_MARK = Reader(msgspec.json.Decoder(_Mark).decode, _Mark)
_CITATIONS = "messages[].content_blocks[].citations"
_CITED = Reader(msgspec.json.Decoder(list[Given]).decode, Given)
_BLOCK = Reader(_decode_block, _Block, _BLOCKS)
_BELONGS = Belongs(
    _Block,
    {
        "text": "cache_control text citations",
        "image": "cache_control source title",
        "document": "cache_control source title citations context",
        "audio": "cache_control source title",
        "tool_use": "cache_control id name input",
        "tool_result": "cache_control tool_use_id content is_error",
        "thinking": "cache_control thinking signature",
        "redacted_thinking": "cache_control data",
    },
)
_DATA = "type media_type data"
_ORIGIN = Belongs(_Source, {"base64": _DATA, "text": _DATA, "url": "type url", "s3": "type uri"})


def _kind(source: _Source, kind: str) -> tuple[str, str]:
    """What the source is, and its format in the service's words."""
    if source.uri:
        ending = source.uri.rpartition(".")[2].lower()
        form = _EXTENSIONS.get(ending, ending)
        if form in _IMAGES or form in _VIDEOS:
            kind = "image" if form in _IMAGES else "video"
        return kind, form
    if source.type == "text":
        return "document", "txt"
    media = source.media_type.partition(";")[0].strip().lower()
    form = _FORMATS.get(media) or media.rpartition("/")[2]
    top = media.partition("/")[0]
    return (top if top in ("image", "video", "audio") else "document"), form


def _bytes(source: _Source, path: str) -> dict[str, Any]:
    if source.uri:
        return {"s3Location": {"uri": source.uri}}
    if source.type == "text":
        return {"bytes": b2a_base64(source.data.encode(), newline=False).decode()}
    if source.type == "base64":
        return {"bytes": source.data}
    raise _unfetched(f"{path}.source")


def _unfetched(path: str) -> InvalidRequest:
    return InvalidRequest(
        "Bedrock fetches no addresses: send the data itself as a data URL, or an s3:// address.", path
    )


# Parts of chat messages that Anthropic's own API reads differently.


def _s3(kind: str, uri: str, part: Part, title: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind, "source": {"type": "s3", "uri": uri}}
    if title:
        made["title"] = title
    return parts.cached(made, part.cache_control)


def _video(part: Part, raw: Raw, path: str, dropped: Dropped) -> parts.Block:
    video = part.video_url
    if video is None:
        raise InvalidRequest("A video_url part needs `video_url`.", f"{path}.video_url")
    url = video if isinstance(video, str) else video.url
    if not isinstance(video, str) and video.detail not in (None, "auto"):
        dropped.add("messages[].content[].video_url.detail")
    if url.startswith(_S3):
        return _s3("document", url, part)
    at = f"{path}.video_url.url"
    if url[:5] != "data:":
        raise _unfetched(at)
    media, data = data_url(url, at, dropped)
    if not media.startswith("video/"):
        raise InvalidRequest("A video_url may hold a video.", at)
    source = {"type": "base64", "media_type": media, "data": data}
    return parts.cached({"type": "document", "source": source}, part.cache_control)


def _image(part: Part, raw: Raw, path: str, dropped: Dropped) -> parts.Block | None:
    image = part.image_url
    url = image if isinstance(image, str) else "" if image is None else image.url
    if url.startswith(_S3):
        return _s3("image", url, part)
    if url and url[:5] != "data:":
        raise _unfetched(f"{path}.image_url.url")
    return parts.PARTS["image_url"](part, raw, path, dropped)


def _file(part: Part, raw: Raw, path: str, dropped: Dropped) -> parts.Block | None:
    file = part.file
    if file is not None and file.file_url is not None and file.file_url.startswith(_S3):
        one_source(file, dropped)
        return _s3("document", file.file_url, part, file.filename)
    if file is not None and file.file_url is not None:
        raise _unfetched(f"{path}.file.file_url")
    return parts.file_block(part, path, dropped, _reads)


def _reads(media: str) -> bool:
    """Whether a file's text is all that the service can be given: it has formats for some of its own."""
    return media == "text/plain" or (parts.is_text(media) and media not in _OWN_TEXTS)


class _Audio(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    data: str
    format: str = "wav"


_AUDIO = Reader(msgspec.json.Decoder(_Audio).decode, _Audio)


def _audio(part: Part, raw: Raw, path: str, dropped: Dropped) -> parts.Block:
    audio = _AUDIO.read(part.input_audio, dropped, f"{path}.input_audio")
    source = {"type": "base64", "media_type": f"audio/{audio.format}", "data": audio.data}
    return parts.cached({"type": "audio", "source": source}, part.cache_control)


def _thinking(part: Part, raw: Raw, path: str, dropped: Dropped) -> parts.Block | None:
    # Many models here think without a signature, but none takes that of Google's, OpenAI's or Mistral's.
    return None if parts.signed_elsewhere(raw, dropped) else raw


_PARTS: dict[str, Make] = {
    **parts.PARTS,
    "image_url": _image,
    "video_url": _video,
    "file": _file,
    "input_audio": _audio,
    "thinking": _thinking,
}


class Turns(Conversation):
    """A conversation in Anthropic's blocks, with what only Converse takes."""

    __slots__ = ()

    @staticmethod
    def blocks(raw: Raw, path: str, dropped: Dropped) -> list[parts.Block]:  # type: ignore[override]
        """Content parts → blocks."""
        return parts.blocks(raw, path, dropped, _PARTS)
