"""Embeddings as OpenAI's clients ask for them and read them, for every codec whose upstream says it otherwise.

A request's `input` is read into items; vectors, as lists of numbers, become the answer in the encoding that the client
asked for. In base64 a vector is its numbers as little-endian 32-bit floats, as OpenAI sends and its SDKs read them.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from adapters import counting, openai_errors, peek
from adapters.chain import Verbatim
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
from adapters.reading import Dropped
from adapters.types import Call, Outbound, Reply, StreamDecoder, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode
_decode_str = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode

_NULL = Raw(b"null")
NOTHING = (_NULL, Raw(b'""'), Raw(b"[]"))
"""Values of fields that ask for nothing."""
_SAYING: tuple[Any, ...] = (None, False, "", [])
"""The same, decoded."""

_INPUT_TYPES: Mapping[bytes, Raw] = {
    b'"RETRIEVAL_QUERY"': Raw(b'"search_query"'),
    b'"RETRIEVAL_DOCUMENT"': Raw(b'"search_document"'),
    b'"CLASSIFICATION"': Raw(b'"classification"'),
    b'"CLUSTERING"': Raw(b'"clustering"'),
}


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing to embed: a text, or an image or a video as an http(s) or data URL."""

    text: str | None = None
    image: str | None = None
    video: str | None = None


class Wish(msgspec.Struct, frozen=True):
    """An embeddings request, read. `base64` is the encoding of the answer; `rest` are the fields not named here, each
    as the JSON it came in; `unread` names what in the items nobody reads."""

    items: tuple[Item, ...]
    base64: bool
    dimensions: int | None
    rest: Mapping[str, Raw]
    unread: tuple[str, ...] = ()

    def lost(self, *said: str) -> tuple[str, ...]:
        """The names of what is not said where of `rest` only these fields are."""
        return (*self.unread, *(name for name in self.rest if name not in said))

    def purpose(self) -> Mapping[str, Raw]:
        """The fields that are not named here, for Cohere: what Google calls a task is its type of input, where it has
        one for it."""
        if "task_type" not in self.rest or "input_type" in self.rest:
            return self.rest
        kind = _INPUT_TYPES.get(bytes(self.rest["task_type"]))
        if kind is None:
            return self.rest
        return {**{name: each for name, each in self.rest.items() if name != "task_type"}, "input_type": kind}

    def texts(self, provider: str) -> list[str]:
        """The items as texts. Raises InvalidRequest when one of them is none, or more than that."""
        for at, item in enumerate(self.items):
            if item.text is None or item.image is not None or item.video is not None:
                raise InvalidRequest(f"{provider} embeds texts only.", f"input[{at}]")
        return [item.text or "" for item in self.items]


def packed(vector: Sequence[float]) -> str:
    """A vector as base64 of little-endian 32-bit floats. Raises BadAnswer for a number that is too large for one."""
    try:
        return binascii.b2a_base64(struct.pack(f"<{len(vector)}f", *vector), newline=False).decode()
    except (struct.error, OverflowError) as error:
        raise BadAnswer("The provider's answer has a vector of something else than 32-bit floats.") from error


def unpacked(text: str) -> list[float]:
    """The vector in a base64 text as `packed` makes it. Raises BadAnswer when it is none."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (ValueError, struct.error) as error:
        raise BadAnswer("The provider's answer has a vector that is not base64 of 32-bit floats.") from error


def read(call: Call) -> Wish:
    """Reads OpenAI's embeddings request. Raises InvalidRequest, for token inputs too: the ids of one model's tokens
    mean nothing to another provider's."""
    fields = peek.fields(call.body)
    raw = fields.pop("input", None)
    if raw is None:
        raise InvalidRequest("The request needs `input`.", "input", "missing_required_parameter")
    encoding = _value(fields, "encoding_format", _decode_str) or "float"
    if encoding not in ("float", "base64"):
        raise InvalidRequest(f"There is no encoding `{encoding[:40]}`: use float or base64.", "encoding_format")
    dimensions = _value(fields, "dimensions", _decode_int)
    for name in ("model", "stream"):
        fields.pop(name, None)
    given = _any(raw)
    rest = {name: value for name, value in fields.items() if value not in NOTHING}
    return Wish(_items(given), encoding == "base64", dimensions, rest, _unread(given))


def answer(call: Call, wish: Wish, vectors: Sequence[Sequence[float]], usage: Usage | None) -> Reply:
    """The answer that holds `vectors`, one for each item. Raises BadAnswer when there are more or fewer."""
    if len(vectors) != len(wish.items):
        raise BadAnswer(f"The provider gave {len(vectors)} vectors for {len(wish.items)} inputs.")
    data = [
        {"object": "embedding", "index": at, "embedding": packed(vector) if wish.base64 else vector}
        for at, vector in enumerate(vectors)
    ]
    tokens = usage.input if usage is not None else 0
    counted = {"prompt_tokens": tokens, "total_tokens": tokens}
    # OpenAI's have no id, and Mistral's SDK reads no answer without one.
    made = {"id": f"embd-{call.id}", "object": "list", "data": data, "model": call.model, "usage": counted}
    return Reply(_encode(made), usage)


def _value(fields: dict[str, Raw], name: str, decode: Any) -> Any:
    raw = fields.pop(name, None)
    if raw is None or raw == _NULL:
        return None
    try:
        return decode(raw)
    except UNREADABLE as error:
        raise InvalidRequest(f"{peek.malformed(error, whole=False).message}", name) from error


def _any(raw: Raw) -> Any:
    try:
        return _decode_any(raw)
    except UNREADABLE as error:
        raise peek.malformed(error) from error


def _items(value: Any) -> tuple[Item, ...]:
    if isinstance(value, str):
        return (Item(value),)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("The input must be a text or a list of them that is not empty.", "input")
    if isinstance(value[0], int | list):
        raise InvalidRequest("This provider takes texts, not lists of token ids.", "input")
    return tuple(_item(each, f"input[{at}]") for at, each in enumerate(value))


def _unread(given: Any) -> tuple[str, ...]:
    """The names of what nobody reads of items: fields that are not known, and data beside its own address."""
    dropped = Dropped(found={})
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict):
            name_others(item, ("text", "image", "video"), "input[]", dropped)
            for kind in ("image", "video"):
                media = item.get(kind)
                if isinstance(media, dict):
                    known = ("url",) if isinstance(media.get("url"), str) else ("url", "base64")
                    name_others(media, known, f"input[].{kind}", dropped)
    return dropped.names()


def name_others(fields: dict[str, Any], known: tuple[str, ...], path: str, dropped: Dropped) -> None:
    """Names the fields of a decoded object that are not `known`, below its path, unless they ask for nothing."""
    for name, value in fields.items():
        if name not in known and value not in _SAYING:
            dropped.add(f"{path}.{name}")


def _item(value: Any, path: str) -> Item:
    if isinstance(value, str):
        return Item(value)
    if not isinstance(value, dict):
        raise InvalidRequest("Expected a text or an object with `text`, `image` or `video`.", path)
    text = value.get("text")
    if text is not None and not isinstance(text, str):
        raise InvalidRequest("Expected `str`.", f"{path}.text")
    image = _media(value.get("image"), "image/png", f"{path}.image")
    video = _media(value.get("video"), "video/mp4", f"{path}.video")
    if text is None and image is None and video is None:
        raise InvalidRequest("Expected a text or an object with `text`, `image` or `video`.", path)
    return Item(text, image, video)


def _media(value: Any, media: str, path: str) -> str | None:
    """`{"url": …}`, `{"base64": …}` or a URL as a URL."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        url, data = value.get("url"), value.get("base64")
        if isinstance(url, str):
            return url
        if isinstance(data, str):
            return data if data.startswith("data:") else f"data:{media};base64,{data}"
    raise InvalidRequest("Expected an object with `url` or `base64`.", path)


class _Vector(msgspec.Struct, gc=False):
    index: int
    embedding: list[float] | str


class _Vectors(msgspec.Struct):
    data: list[_Vector]


class _Encoding(msgspec.Struct, gc=False):
    encoding_format: str | None = None


_decode_vectors = msgspec.json.Decoder(_Vectors).decode
_decode_encoding = msgspec.json.Decoder(_Encoding).decode


class ToFloats:
    """OpenAI's embeddings on a provider that answers with lists of numbers and nothing else; see `Codec`.

    A client that asks for base64 gets it all the same. All other requests and answers pass as they are.
    """

    identity = False

    def request(self, call: Call) -> Outbound:
        """The body without the encoding that the provider does not know."""
        return Outbound(peek.without(call.body, ("encoding_format",)) if _wants_base64(call) else call.body)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body holds no vectors."""
        try:
            found = _decode_vectors(body).data
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        if not _wants_base64(call):
            return Reply(body, counting.usage_of(body))
        data = [{"object": "embedding", "index": each.index, "embedding": _as_base64(each.embedding)} for each in found]
        return Reply(peek.with_params(body, {"data": data}), counting.usage_of(body))

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings are not streamed: a provider that does so all the same is passed on as it is."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


def _wants_base64(call: Call) -> bool:
    try:
        return _decode_encoding(call.body).encoding_format == "base64"
    except UNREADABLE:
        return False


def _as_base64(embedding: list[float] | str) -> str:
    return embedding if isinstance(embedding, str) else packed(embedding)


TO_FLOATS = ToFloats()
