"""Content parts of chat messages → Gemini's parts.

Text, data and arguments move as the JSON they came in. Addresses become `fileData`, which Google fetches itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from adapters.chat.parts import FIELDS, one_source
from adapters.chat.request import data_url, name_in
from adapters.chat.wire import EMPTY_STRING
from adapters.errors import InvalidRequest
from adapters.gemini.wire import SIGNED, Part, Url
from adapters.known import Belongs, Reader
from adapters.reading import Dropped
from adapters.values import NULL, QUOTE, first

Made: TypeAlias = dict[str, Any] | Raw

_MEDIA = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg"}
_SOUNDS = {"mp3": "audio/mp3", "wav": "audio/wav", "pcm16": "audio/pcm"}
_ENDINGS = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "html": "text/html", "csv": "text/csv", "xml": "text/xml", "mp3": "audio/mpeg", "wav": "audio/wav",
    "flac": "audio/flac", "ogg": "audio/ogg", "aac": "audio/aac", "m4a": "audio/mp4", "mp4": "video/mp4",
    "mov": "video/mov", "webm": "video/webm", "mpeg": "video/mpeg", "mpg": "video/mpg", "avi": "video/avi",
    "wmv": "video/wmv", "3gp": "video/3gpp",
}  # fmt: skip
"""Media types by the end of an address, for Google wants to be told."""
_VIDEO_SITES = ("https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")


class Parts:
    """Reads parts in their order. `pending` are signatures of thoughts whose part is yet to come. `named`: files may
    have a name (Vertex AI's `displayName`, which Gemini's own API refuses)."""

    __slots__ = ("_named", "dropped", "made", "pending", "texts")

    def __init__(self, dropped: Dropped, named: bool) -> None:
        self.dropped = dropped
        self._named = named
        self.made: list[Made] = []
        self.pending: list[str] = []
        self.texts = 0

    def add_all(self, raw: Raw, path: str) -> None:
        """Adds a JSON array of content parts or blocks. Raises InvalidRequest with the path of what is wrong."""
        for index, part in enumerate(_READER.read(raw, self.dropped, path)):
            at = f"{path}[{index}]"
            _BELONGS.heed(part, part.type, self.dropped, at)
            make = _PARTS.get(part.type)
            if make is None and path.endswith(".content_blocks"):
                # What another maker's model did, such as tools that ran there.
                self._foreign(part, path)
                continue
            if make is None:
                message = f"A part of type `{part.type[:40]}` cannot be translated."
                raise InvalidRequest(message, f"{at}.type")
            if first(part.cache_control) != NULL:
                self.dropped.add("cache_control")
            if first(part.prompt_cache_breakpoint) != NULL:
                self.dropped.add("messages[].content[].prompt_cache_breakpoint")
            make(self, part, at)

    def add_text(self, text: Raw) -> None:
        """Adds a JSON string; an empty one says nothing."""
        self.texts += 1
        if text and text != EMPTY_STRING:
            self._add({"text": text})

    def close(self) -> None:
        """Signatures that no part followed come in a part without text, as Gemini itself sends them."""
        while self.pending:
            self._add({"text": ""})

    def _add(self, part: dict[str, Any]) -> None:
        if self.pending:
            part["thoughtSignature"] = self.pending.pop(0)
        self.made.append(part)

    # -- one for each type

    def _text(self, part: Part, path: str) -> None:
        if first(part.text) != QUOTE:
            raise InvalidRequest("A text part needs `text`.", f"{path}.text")
        self.dropped.phase(part.phase, "messages[].content_blocks[].phase")
        self.dropped.cited(part.citations)
        self.add_text(part.text)

    def _refusal(self, part: Part, path: str) -> None:
        if first(part.refusal) == QUOTE and part.refusal != EMPTY_STRING:
            self._add({"text": part.refusal})

    def _thinking(self, part: Part, path: str) -> None:
        if not part.signature.startswith(SIGNED):
            self.dropped.add("messages[].content_blocks[].thinking")
            return
        if part.thinking and part.thinking != EMPTY_STRING:
            self.made.append({"text": part.thinking, "thought": True})
        self.pending.append(part.signature[len(SIGNED) :])

    def _foreign(self, part: Part, path: str) -> None:
        self.dropped.add(f"messages[].content_blocks[].{part.type[:40]}")

    def _own(self, part: Part, path: str) -> None:
        if part.part:
            self.made.append(part.part)

    def _image(self, part: Part, path: str) -> None:
        self._address(part.image_url, "image_url", path, "image/jpeg")

    def _video(self, part: Part, path: str) -> None:
        self._address(part.video_url, "video_url", path, "video/mp4")

    def _address(self, given: Url | str | None, name: str, path: str, media: str) -> None:
        if given is None:
            raise InvalidRequest(f"A part of type {name} needs `{name}`.", f"{path}.{name}")
        url = Url(given) if isinstance(given, str) else given
        if url.detail not in (None, "auto"):
            self.dropped.add(f"messages[].content[].{name}.detail")
        self._add(self._linked(url.url, url.mime_type, media, f"{path}.{name}.url"))

    def _audio(self, part: Part, path: str) -> None:
        audio = part.input_audio
        if audio is None:
            raise InvalidRequest("An input_audio part needs `input_audio`.", f"{path}.input_audio")
        media = _SOUNDS.get(audio.format) or f"audio/{audio.format}"
        self._add({"inlineData": {"mimeType": media, "data": audio.data}})

    def _file(self, part: Part, path: str) -> None:
        file = part.file
        if file is None:
            raise InvalidRequest("A file part needs `file`.", f"{path}.file")
        one_source(file, self.dropped, ("file_data", "file_url", "file_id"))
        at, data = f"{path}.file", file.file_data
        if data is not None and data[:5] != "data:":
            media = file.mime_type or _media_of(file.filename or "") or "application/pdf"
            self._add_file({"inlineData": {"mimeType": media, "data": data}}, file.filename)
            return
        address = data or file.file_url or file.file_id
        if not address:
            raise InvalidRequest("A file part needs `file_data`, `file_url` or `file_id`.", at)
        media = _media_of(file.filename or "") or "application/pdf"
        name = file.filename or name_in(address)
        field = "file_data" if data else "file_url"
        linked = self._linked(
            address, file.mime_type, media, f"{at}.{field}", uploaded=file.file_id is not None, name=name
        )
        self._add_file(linked, name)

    def _add_file(self, part: dict[str, Any], name: str | None) -> None:
        if name and self._named:
            for blob in part.values():
                blob["displayName"] = name
        elif name:
            self.dropped.add("messages[].content[].file.filename")
        self._add(part)

    def _linked(
        self, url: str, media: str | None, default: str, path: str, *, uploaded: bool = False, name: str | None = None
    ) -> dict[str, Any]:
        """Inline data for a data URL, a reference for any other address. `uploaded` files are Google's own."""
        if url[:5] == "data:":
            media, data = data_url(url, path, self.dropped, media, () if name is None else (name,))
            return {"inlineData": {"mimeType": _MEDIA.get(media, media), "data": data}}
        if not uploaded and not url.lower().startswith(("https://", "http://", "gs://")):
            raise InvalidRequest("The address must be an http(s), gs or data URL.", path)
        uploaded = uploaded or "/v1beta/files/" in url
        media = media or _media_of(url)
        media = media or (None if uploaded else "video/mp4" if url.startswith(_VIDEO_SITES) else default)
        return {"fileData": {"fileUri": url} if media is None else {"mimeType": media, "fileUri": url}}


def _media_of(name: str) -> str | None:
    ending = name.partition("?")[0].partition("#")[0].rpartition(".")[2]
    return _ENDINGS.get(ending.lower()) if len(ending) < 8 else None


_PARTS: dict[str, Callable[[Parts, Part, str], None]] = {
    "text": Parts._text,
    "refusal": Parts._refusal,
    "image_url": Parts._image,
    "video_url": Parts._video,
    "input_audio": Parts._audio,
    "file": Parts._file,
    "thinking": Parts._thinking,
    "redacted_thinking": Parts._foreign,
    "openai_item": Parts._foreign,
    "gemini_part": Parts._own,
}
_READ = {kind for kind, make in _PARTS.items() if make is not Parts._foreign}
_READER = Reader(msgspec.json.Decoder(list[Part]).decode, Part, _READ)
_BELONGS = Belongs(Part, {kind: FIELDS[kind] for kind in _READ})
