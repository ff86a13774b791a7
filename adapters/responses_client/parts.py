"""Content parts → parts of a chat's messages: texts, images, files and sound, as the JSON they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped, missing, read, string, under
from adapters.values import ABSENT, BRACKET, NULL, QUOTE, first

Message = dict[str, Any]

CONTENT, OUTPUT, SUMMARY = "input[].content", "input[].output", "input[].summary"
"""Where parts stand: what is lost of them is named below that."""

_EMPTY = Raw(b'""')
_EXPLICIT = Raw(b'"explicit"')
_object = msgspec.json.Decoder(dict[str, Raw]).decode


class Part(Struct, forbid_unknown_fields=True, gc=False):
    """Any content part: the union of the fields that some type of part has."""

    type: str
    text: Raw = ABSENT
    refusal: Raw = ABSENT
    image_url: Raw = ABSENT
    detail: str | None = None
    file_id: Raw = ABSENT
    file_data: Raw = ABSENT
    file_url: Raw = ABSENT
    filename: Raw = ABSENT
    input_audio: Raw = ABSENT
    annotations: Raw = ABSENT
    logprobs: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


def parts_of(content: Raw, dropped: Dropped, name: str) -> list[Message]:
    """What each part of an array comes to. What is lost of one is named below `name`. Raises InvalidRequest with
    the path below the array."""
    parts: list[Message] = []
    read_parts = _READER.read(content, dropped, name=name)
    for part in read_parts:
        try:
            made = _PARTS[part.type](part)
            if part.prompt_cache_breakpoint:
                _mark(made, part.prompt_cache_breakpoint, dropped, f"{name}[].prompt_cache_breakpoint")
        except KeyError:
            raise InvalidRequest(f"`{part.type[:40]}` is not a content part.", f"[{len(parts)}].type") from None
        except InvalidRequest as error:
            raise under(f"[{len(parts)}]", error) from error
        if part.type == "input_file":
            _heed_file(part, dropped, f"{name}[]")
        parts.append(made)
    _BELONGS.heed_all(read_parts, dropped, name)
    return parts


def _heed_file(part: Part, dropped: Dropped, below: str) -> None:
    """Names what is lost of a file."""
    if part.detail not in (None, "auto"):
        dropped.add(f"{below}.detail")
    if part.file_url and first(part.file_data) != NULL != first(part.file_url):
        dropped.add(f"{below}.file_url")


def _mark(made: Message, mark: Raw, dropped: Dropped, name: str) -> None:
    """Puts a mark of caching on what is made of a part."""
    if first(mark) == NULL:
        return
    fields = read(_object, mark, "prompt_cache_breakpoint")
    if not dropped.blocks:
        dropped.add(name)
        return
    made["cache_control"] = {"type": "ephemeral"}
    for each, value in fields.items():
        # OpenAI's lifetimes (`ttl`) are others than Anthropic's.
        if first(value) != NULL and (each != "mode" or value != _EXPLICIT):
            dropped.add(f"{name}.{each}")


def texts_of(thought: Raw, dropped: Dropped, name: str) -> list[Raw]:
    """The texts of a thought, or of its summary, as JSON strings; none where it is no array. What is lost is named
    below `name`. Raises InvalidRequest."""
    if first(thought) != BRACKET:
        return []
    texts = []
    parts = _READER.read(thought, dropped, name=name)
    for part in parts:
        if first(part.text) == QUOTE:
            texts.append(part.text)
        else:
            dropped.add(f"{name}[]")
    _BELONGS.heed_all(parts, dropped, name)
    return texts


def plain(content: Raw | list[Message]) -> Raw | list[Message]:
    """The content as a string where it is one text: many compatible providers take text as nothing else."""
    if isinstance(content, list):
        if len(content) == 1 and len(content[0]) == len(("type", "text")) and "text" in content[0]:
            text: Raw = content[0]["text"]
            return text
        return content or _EMPTY
    return content


def _text(part: Part) -> Message:
    return {"type": "text", "text": string(part.text, "text")}


def _refused(part: Part) -> Message:
    return {"type": "text", "text": string(part.refusal, "refusal")}


def _image(part: Part) -> Message:
    if first(part.image_url) != QUOTE:
        raise _foreign_file("image_url") if first(part.file_id) == QUOTE else missing("image_url")
    image: Message = {"url": part.image_url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _file(part: Part) -> Message:
    file: Message = {}
    if first(part.file_data) != NULL:
        file["file_data"] = string(part.file_data, "file_data")
    elif first(part.file_url) != NULL:
        file["file_url"] = string(part.file_url, "file_url")
    else:
        raise _foreign_file("file_data") if first(part.file_id) == QUOTE else missing("file_data")
    if first(part.filename) != NULL:
        file["filename"] = string(part.filename, "filename")
    return {"type": "file", "file": file}


def _audio(part: Part) -> Message:
    if first(part.input_audio) == NULL:
        raise missing("input_audio")
    return {"type": "input_audio", "input_audio": part.input_audio}


def _foreign_file(instead: str) -> InvalidRequest:
    return InvalidRequest(f"A file stored at OpenAI cannot reach this model's provider: send `{instead}`.", "file_id")


_PARTS: Mapping[str, Callable[[Part], Message]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "summary_text": _text,
    "refusal": _refused,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}

_SAID = "type text prompt_cache_breakpoint"
_BELONGS = Belongs(
    Part,
    {
        **dict.fromkeys(("input_text", "text", "summary_text", "reasoning_text"), _SAID),
        # How likely the words of an answer were is no part of what is read again.
        "output_text": f"{_SAID} logprobs",
        "refusal": "type refusal prompt_cache_breakpoint",
        "input_image": "type image_url detail prompt_cache_breakpoint",
        "input_file": "type file_data file_url filename detail prompt_cache_breakpoint",
        "input_audio": "type input_audio prompt_cache_breakpoint",
    },
)
"""What is known only where it is refused, such as files by their ids, belongs nowhere."""

_READER = Reader(msgspec.json.Decoder(list[Part]).decode, Part, {*_PARTS, "reasoning_text"})
