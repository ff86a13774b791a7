"""Gemini's clients that embed: embedContent and batchEmbedContents on any provider's embeddings, by way of OpenAI's.

https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import counting, embeddings, openai_errors, peek
from adapters.chain import Verbatim
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
from adapters.gemini_client.names import camel
from adapters.known import Reader
from adapters.reading import Dropped, missing
from adapters.types import Call, Codec, Dialect, Headed, Outbound, Reply, Several, StreamDecoder, in_words
from adapters.values import ABSENT, NULL, UNREADABLE, first

_encode = msgspec.json.Encoder().encode
_MEDIA = ("image", "video")


class _Blob(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    mime_type: str = ""
    data: str = ""


class _File(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    mime_type: str = ""
    file_uri: str = ""


class _Part(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    text: str | None = None
    inline_data: _Blob | None = None
    file_data: _File | None = None


class _Content(Struct, gc=False, forbid_unknown_fields=True):
    parts: list[_Part] = []
    role: Raw = ABSENT


class _Request(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    content: _Content | str
    model: Raw = ABSENT
    task_type: Raw = ABSENT
    title: Raw = ABSENT
    output_dimensionality: int | None = None


class _Vector(Struct, gc=False):
    embedding: list[float] | str
    index: int = 0


class _Vectors(Struct):
    data: list[_Vector]


_single = Reader(msgspec.json.Decoder(_Request).decode, _Request)
_requests = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_vectors = msgspec.json.Decoder(_Vectors).decode

_WORDS = {"task_type": "taskType", "title": "title", "dimensions": "outputDimensionality", "input": "content"}
"""The client's names for fields of the request between; those of a batch stand in each of its requests."""
_AT = re.compile(r"input\[(\d+)\]")


class GeminiToEmbeddings:
    """Both on OpenAI's embeddings; see `adapters.types.Codec`. `further`: another codec comes behind, which knows what
    a text is embedded for and its title, or names them; OpenAI itself has no words for them."""

    identity = False

    def __init__(self, *, batch: bool, further: bool = False) -> None:
        self._batch = batch
        self._further = further
        self.words = {name: f"requests[].{word}" for name, word in _WORDS.items()} if batch else _WORDS

    def request(self, call: Call) -> Outbound:
        """The embeddings request. Raises InvalidRequest."""
        dropped = Dropped(found={})
        requests = self._read(call.body, dropped)
        made: dict[str, Any] = {"model": call.model, "input": [self._input(each, at) for at, each in requests]}
        wishes: dict[str, list[Any]] = {
            "dimensions": [each.output_dimensionality for _, each in requests],
            "task_type": [_given(each.task_type) for _, each in requests],
            "title": [_given(each.title) for _, each in requests],
        }
        for name, given in wishes.items():
            if self._sayable(name, given):
                made[name] = given[0]
            elif any(each is not None for each in given):
                dropped.add(self.words[name])
        names = tuple(name.removeprefix(".") for name in dropped.names())
        return Outbound(_encode(made), (), names, words=(self.words,))

    def _sayable(self, name: str, given: list[Any]) -> bool:
        """Whether it can be said, once for all requests."""
        known = name == "dimensions" or self._further
        return known and given[0] is not None and all(each == given[0] for each in given)

    def _read(self, body: bytes, dropped: Dropped) -> list[tuple[str, _Request]]:
        """The requests, each with its place. Raises InvalidRequest."""
        try:
            raw = Raw(camel(body))
            if not self._batch:
                return [("", _single.read(raw, dropped))]
            fields = _requests(raw)
            items = _list(fields.pop("requests", Raw(b"[]")))
        except UNREADABLE as error:
            raise peek.malformed(error) from error
        for name, value in fields.items():
            if first(value) != NULL:
                dropped.add(name)
        if not items:
            raise InvalidRequest("At least one request is required.", "requests")
        places = [f"requests[{at}]" for at in range(len(items))]
        return [(at, _single.read(each, dropped, at)) for at, each in zip(places, items, strict=True)]

    def _input(self, request: _Request, at: str) -> Any:
        """What is to be embedded, as `adapters.embeddings` reads it. Raises InvalidRequest."""
        content = request.content
        if isinstance(content, str):
            return content
        path = f"{at}.content" if at else "content"
        if not content.parts:
            raise missing("parts", f"{path}.parts")
        item: dict[str, Any] = {}
        texts = [part.text for part in content.parts if part.text is not None]
        if texts:
            item["text"] = "\n".join(texts)
        for number, part in enumerate(content.parts):
            for kind, url in _media(part, f"{path}.parts[{number}]"):
                if kind in item:
                    raise InvalidRequest(f"One {kind} can be embedded at once here.", f"{path}.parts[{number}]")
                item[kind] = url
        return item if item.keys() - {"text"} else item.get("text", "")

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer. Raises BadAnswer."""
        try:
            data = sorted(_vectors(body).data, key=lambda each: each.index)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        vectors = [
            {"values": embeddings.unpacked(each.embedding) if isinstance(each.embedding, str) else each.embedding}
            for each in data
        ]
        if not vectors:
            raise BadAnswer("The provider's answer holds no embeddings.")
        answer: dict[str, Any] = {"embeddings": vectors} if self._batch else {"embedding": vectors[0]}
        usage = counting.usage_of(body)
        if usage is not None and usage.input:
            answer["usageMetadata"] = {"promptTokenCount": usage.input}
        return Reply(_encode(answer), usage)

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


def _given(value: Raw) -> Raw | None:
    return None if first(value) == NULL else value


def _media(part: _Part, path: str) -> list[tuple[str, str]]:
    """The picture or video of a part, by its kind, as an address. Raises InvalidRequest for anything else."""
    found: list[tuple[str, str]] = []
    for media, url in (
        (part.inline_data and part.inline_data.mime_type, part.inline_data and _inline(part.inline_data)),
        (part.file_data and part.file_data.mime_type, part.file_data and part.file_data.file_uri),
    ):
        if url:
            kind = (media or "").partition("/")[0]
            if kind not in _MEDIA:
                raise InvalidRequest("Only texts, images and videos can be embedded here.", path)
            found.append((kind, url))
    return found


def _inline(blob: _Blob) -> str:
    # Google's SDKs write base64 with `-` and `_`; nobody else reads it.
    data = blob.data.replace("-", "+").replace("_", "/")
    return f"data:{blob.mime_type};base64,{data}"


class Through:
    """Gemini's request → OpenAI's embeddings → another provider's, and back; see `adapters.types.Codec`."""

    identity = False

    def __init__(self, first: GeminiToEmbeddings, second: Codec) -> None:
        self._first = first
        self._second = second

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest from either half, with the client's own path."""
        between = self._first.request(call)
        middle = msgspec.structs.replace(call, dialect=Dialect.OPENAI_EMBEDDINGS, body=between.body)
        try:
            sent = self._second.request(middle)
        except InvalidRequest as error:
            place = self._first.words["input"]
            param = _AT.sub(place.replace("[]", r"[\1]"), error.param or "")
            raise InvalidRequest(error.message, place if param == "input" else param or None, error.code) from error
        dropped = (*between.dropped, *in_words(between.words, sent.dropped))
        return Outbound(sent.body, sent.headers, dropped, sent.more, middle=middle)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer."""
        return self._told(call, self._second.response(self._middle(call), body))

    def combined(self, call: Call, bodies: list[bytes]) -> Reply:
        """One answer of the answers to all calls, in their order. Raises BadAnswer."""
        assert isinstance(self._second, Several)
        return self._told(call, self._second.combined(self._middle(call), bodies))

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Read by the codec that knows the provider."""
        return self._second.error(status, headers, body)

    def _middle(self, call: Call) -> Call:
        middle = call.middle
        if middle is None:
            body = self._first.request(call).body
            middle = msgspec.structs.replace(call, dialect=Dialect.OPENAI_EMBEDDINGS, body=body)
        return msgspec.structs.replace(middle, counted=call.counted)

    def _told(self, call: Call, inner: Reply) -> Reply:
        return Reply(self._first.response(call, inner.body).body, inner.usage)


class HeadedThrough(Through):
    """The same where tokens are counted in the answer's head alone."""

    def __init__(self, first: GeminiToEmbeddings, second: Codec, usage_header: bytes) -> None:
        super().__init__(first, second)
        self.usage_header = usage_header


def through(second: Codec, *, batch: bool) -> Codec:
    """Gemini's clients on a provider that `second` asks for OpenAI's."""
    first = GeminiToEmbeddings(batch=batch, further=True)
    return HeadedThrough(first, second, second.usage_header) if isinstance(second, Headed) else Through(first, second)


BATCH_TO_EMBEDDINGS = GeminiToEmbeddings(batch=True)
EMBED_TO_EMBEDDINGS = GeminiToEmbeddings(batch=False)
