"""Embeddings at Google: OpenAI's clients on Gemini's batchEmbedContents and on Vertex AI's predict, and Gemini's own.

https://ai.google.dev/api/embeddings and https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import counting, embeddings, google_errors, google_usage, peek
from adapters.chain import Verbatim
from adapters.embeddings import Item, Wish
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
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


_batch = msgspec.json.Decoder(_Batch).decode
_predictions = msgspec.json.Decoder(_Predictions).decode


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
        task = _task(wish)
        if task is not None:
            kept["taskType"] = task
        if "title" in wish.rest:
            kept["title"] = wish.rest["title"]
        requests = [
            {"model": _named(call), "content": {"parts": _parts(item, f"input[{at}]")}, **kept}
            for at, item in enumerate(wish.items)
        ]
        return Outbound(_encode({"requests": requests}), (), wish.lost(*_TASKS, "title"))

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer. Raises BadAnswer."""
        try:
            found = _batch(body)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        tokens = found.usage_metadata
        usage = None if tokens is None else google_usage.counted(tokens)
        return embeddings.answer(call, embeddings.read(call), [each.values for each in found.embeddings], usage)


def _named(call: Call) -> str:
    return f"models/{call.model.removeprefix('models/')}"


def _task(wish: Wish) -> Raw | None:
    """What the vectors are for, under either of its names. Raises InvalidRequest where these say two things."""
    tasks = [wish.rest[name] for name in _TASKS if name in wish.rest]
    if any(task != tasks[0] for task in tasks):
        raise InvalidRequest("`task_type` and `taskType` say different things.", "taskType")
    return tasks[0] if tasks else None


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
        task = _task(wish)
        purpose = {name: each for name, each in (("task_type", task), ("title", wish.rest.get("title"))) if each}
        instances = [
            _media(item, f"input[{at}]") if multimodal else {"content": item.text or "", **purpose}
            for at, item in enumerate(wish.items)
        ]
        groups = [[each] for each in instances] if _one_by_one(call.model) else [instances]
        if len(groups) > MOST:
            raise InvalidRequest(f"At most {MOST} inputs can be embedded in one request here.", "input")
        bodies = [
            _encode({"instances": group, **({"parameters": parameters} if parameters else {})}) for group in groups
        ]
        said = ("auto_truncate",) if multimodal else (*_TASKS, "title", "auto_truncate")
        return Outbound(bodies[0], (), wish.lost(*said), tuple(bodies[1:]))

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


def _media(item: Item, path: str) -> dict[str, Any]:
    if sum(each is not None for each in (item.text, item.image, item.video)) > 1:
        raise InvalidRequest("A text, an image and a video get a vector each: send them as items of their own.", path)
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
        named = Raw(_encode(_named(call)))
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


EMBEDDINGS_TO_BATCH = ToBatch()
EMBEDDINGS_TO_PREDICT = ToPredict()
RENAMED_EMBEDDINGS = Renamed()
