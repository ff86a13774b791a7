"""Embeddings at Google: OpenAI's clients on Gemini's batchEmbedContents and on Vertex AI's predict, and Gemini's
clients on providers that speak OpenAI's dialect.

https://ai.google.dev/api/embeddings and https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import counting, embeddings, google_errors, google_usage, openai_errors, peek
from adapters.chain import Verbatim
from adapters.embeddings import Item
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
from adapters.gemini_client.names import camel
from adapters.reading import Dropped
from adapters.types import Call, CountAsFloat, Outbound, Reply, StreamDecoder, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode

_TASKS = ("task_type", "taskType")
MOST = 250
"""Calls that one request may become where a model embeds one input at a time."""


class _Values(Struct, gc=False):
    values: list[float]


class _Batch(Struct, rename="camel"):
    embeddings: list[_Values]
    usage_metadata: google_usage.Tokens | None = None


class _Statistics(Struct, frozen=True, gc=False):
    token_count: CountAsFloat = 0


class _Predicted(Struct, gc=False):
    values: list[float]
    statistics: _Statistics = _Statistics()


class _Prediction(Struct, gc=False, rename="camel"):
    embeddings: _Predicted | None = None
    text_embedding: list[float] | None = None
    image_embedding: list[float] | None = None


class _Predictions(Struct):
    predictions: list[_Prediction]


class _Part(Struct, gc=False):
    text: str | None = None


class _Content(Struct, gc=False):
    parts: list[_Part] = []


class _Request(Struct, gc=False, rename="camel"):
    content: _Content | str
    model: str | None = None
    task_type: Raw = Raw(b"")
    title: Raw = Raw(b"")
    output_dimensionality: int | None = None


class _Requests(Struct, gc=False):
    requests: list[_Request]


class _Vector(Struct, gc=False):
    embedding: list[float] | str
    index: int = 0


class _Vectors(Struct):
    data: list[_Vector]


_batch = msgspec.json.Decoder(_Batch).decode
_predictions = msgspec.json.Decoder(_Predictions).decode
_requests = msgspec.json.Decoder(_Requests).decode
_request = msgspec.json.Decoder(_Request).decode
_vectors = msgspec.json.Decoder(_Vectors).decode


class _AtGoogle:
    """What both of Google's have alike; see `adapters.types.Codec`."""

    identity = False

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads Google's error."""
        return google_errors.read(status, headers, body)


class ToBatch(_AtGoogle):
    """Gemini's batchEmbedContents: one vector for each input."""

    def request(self, call: Call) -> Outbound:
        """The call. Raises InvalidRequest."""
        wish = embeddings.read(call)
        kept: dict[str, Any] = {}
        if wish.dimensions is not None:
            kept["outputDimensionality"] = wish.dimensions
        for name in _TASKS:
            if name in wish.rest:
                kept["taskType"] = wish.rest[name]
        if "title" in wish.rest:
            kept["title"] = wish.rest["title"]
        requests = [
            {"model": f"models/{call.model}", "content": {"parts": _parts(item, f"input[{at}]")}, **kept}
            for at, item in enumerate(wish.items)
        ]
        dropped = tuple(name for name in wish.rest if name not in (*_TASKS, "title"))
        return Outbound(_encode({"requests": requests}), (), dropped)

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer. Raises BadAnswer."""
        try:
            found = _batch(body)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        tokens = found.usage_metadata
        usage = None if tokens is None else google_usage.counted(tokens)
        return embeddings.answer(call, embeddings.read(call), [each.values for each in found.embeddings], usage)


def _parts(item: Item, path: str) -> list[dict[str, Any]]:
    if item.video is not None:
        raise InvalidRequest("Send a video to Gemini as text or images.", path)
    parts: list[dict[str, Any]] = [] if item.text is None else [{"text": item.text}]
    if item.image is not None:
        media, data = _inline(item.image, path)
        parts.append({"inlineData": {"mimeType": media, "data": data}})
    return parts


def _inline(url: str, path: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise InvalidRequest("Google fetches no addresses to embed: send a data URL.", path)
    return head[5:-7], data


class ToPredict(_AtGoogle):
    """Vertex AI's predict: texts in one call (one each for models that take no more), or texts, images and videos of
    the multimodal model."""

    def request(self, call: Call) -> Outbound:
        """The calls. Raises InvalidRequest."""
        wish = embeddings.read(call)
        multimodal = any(item.image or item.video for item in wish.items) or "multimodal" in call.model
        parameters: dict[str, Any] = {}
        if wish.dimensions is not None:
            parameters["dimension" if multimodal else "outputDimensionality"] = wish.dimensions
        if "auto_truncate" in wish.rest:
            parameters["autoTruncate"] = wish.rest["auto_truncate"]
        task = next((wish.rest[name] for name in _TASKS if name in wish.rest), None)
        instances = [
            _media(item, f"input[{at}]") if multimodal else _text(item, task) for at, item in enumerate(wish.items)
        ]
        groups = [[each] for each in instances] if _one_by_one(call.model) else [instances]
        if len(groups) > MOST:
            raise InvalidRequest(f"At most {MOST} inputs can be embedded in one request here.", "input")
        bodies = [
            _encode({"instances": group, **({"parameters": parameters} if parameters else {})}) for group in groups
        ]
        dropped = tuple(name for name in wish.rest if name not in (*_TASKS, "auto_truncate"))
        return Outbound(bodies[0], (), dropped, tuple(bodies[1:]))

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer to one call. Raises BadAnswer."""
        return self.combined(call, [body])

    def combined(self, call: Call, bodies: list[bytes]) -> Reply:
        """One answer of the answers to all calls, in their order. Raises BadAnswer."""
        try:
            found = [each for body in bodies for each in _predictions(body).predictions]
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no predictions.") from error
        vectors: list[list[float]] = []
        tokens = 0
        for each in found:
            told = each.embeddings
            vector = told.values if told is not None else each.text_embedding or each.image_embedding
            if vector is None:
                raise BadAnswer("The provider's answer has a prediction without an embedding.")
            vectors.append(vector)
            tokens += 0 if told is None else int(told.statistics.token_count)
        usage = Usage(tokens) if tokens else None
        return embeddings.answer(call, embeddings.read(call), vectors, usage)


def _one_by_one(model: str) -> bool:
    return "gemini-embedding" in model or "multimodal" in model


def _text(item: Item, task: Raw | None) -> dict[str, Any]:
    made: dict[str, Any] = {"content": item.text or ""}
    if task is not None:
        made["task_type"] = task
    return made


def _media(item: Item, path: str) -> dict[str, Any]:
    made: dict[str, Any] = {} if item.text is None else {"text": item.text}
    for name, url in (("image", item.image), ("video", item.video)):
        if url is not None:
            made[name] = {"gcsUri": url} if url[:5] == "gs://" else {"bytesBase64Encoded": _inline(url, path)[1]}
    return made


class Renamed(_AtGoogle):
    """Gemini's clients at Google: the same, but that every request of a batch names the model that the path does."""

    def request(self, call: Call) -> Outbound:
        """The body as it came where it names that model or none. Raises InvalidRequest."""
        fields = peek.fields(call.body)
        named = Raw(_encode(f"models/{call.model}"))
        if "requests" not in fields:
            if fields.get("model") in (None, named):
                return Outbound(call.body)
            return Outbound(_encode({**fields, "model": named}))
        requests = _read(_raw_requests, fields["requests"], "requests")
        if all(each.get("model") == named for each in requests):
            return Outbound(call.body)
        return Outbound(_encode({**fields, "requests": [{**each, "model": named} for each in requests]}))

    def response(self, call: Call, body: bytes) -> Reply:
        """The body as it is."""
        return Reply(body, counting.usage_of(body))


_raw_requests = msgspec.json.Decoder(list[dict[str, Raw]]).decode


def _read(decode: Any, raw: Any, path: str) -> Any:
    try:
        return decode(raw)
    except UNREADABLE as error:
        found = peek.malformed(error, whole=False)
        raise InvalidRequest(found.message, f"{path}{found.param or ''}" or None, found.code) from error


class GeminiToEmbeddings:
    """Gemini's embedContent and batchEmbedContents on OpenAI's embeddings; see `adapters.types.Codec`."""

    identity = False

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch

    def request(self, call: Call) -> Outbound:
        """The embeddings request. Raises InvalidRequest."""
        body = _read(camel, call.body, "")
        requests = _read(_requests, body, "").requests if self._batch else [_read(_request, body, "")]
        if not requests:
            raise InvalidRequest("At least one request is required.", "requests")
        dropped = Dropped()
        for each in requests:
            for name, given in (("taskType", each.task_type), ("title", each.title)):
                if given and given != Raw(b"null"):
                    dropped.add(f"requests[].{name}")
        made: dict[str, Any] = {"model": call.model, "input": [_joined(each.content) for each in requests]}
        size = requests[0].output_dimensionality
        if size is not None:
            made["dimensions"] = size
        return Outbound(_encode(made), (), dropped.names())

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
        return Reply(_encode(answer), counting.usage_of(body))

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


def _joined(content: _Content | str) -> str:
    return content if isinstance(content, str) else "\n".join(part.text or "" for part in content.parts)


EMBEDDINGS_TO_BATCH = ToBatch()
EMBEDDINGS_TO_PREDICT = ToPredict()
RENAMED_EMBEDDINGS = Renamed()
BATCH_TO_EMBEDDINGS = GeminiToEmbeddings(batch=True)
EMBED_TO_EMBEDDINGS = GeminiToEmbeddings(batch=False)
