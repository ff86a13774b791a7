"""OpenAI's other endpoints: embeddings, models, moderations, images, audio, files, and an echo for the rest."""

from __future__ import annotations

import hashlib
import math
from array import array
from base64 import b64encode
from typing import Any

import msgspec

from proxy.mock.answer import Answer, Incoming, Refusal, Whole, encode
from proxy.mock.openai import chat, known_model, missing
from proxy.mock.text import CREATED, words

MODELS = (
    "gpt-5-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "whisper-1",
    "tts-1",
    "dall-e-3",
    "omni-moderation-latest",
)
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MAX_DIMENSIONS = 8192
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_AUDIO_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_SPEECH_SIZE = 4096
_ECHOED_HEADERS = ("accept", "content-type", "content-length", "user-agent", "range")
_CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def embeddings(incoming: Incoming) -> Answer:
    """POST /v1/embeddings. Raises Refusal."""
    body = incoming.json
    model = known_model(body)
    if "input" not in body:
        raise missing("input")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise Refusal(400, f"Invalid 'dimensions': expected 1 to {_MAX_DIMENSIONS}.", param="dimensions")
    inputs = _inputs(body["input"])
    vectors = [_vector(text, dimensions) for text in inputs]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": b64encode(v.tobytes()).decode() if as_base64 else v.tolist()}
        for i, v in enumerate(vectors)
    ]
    tokens = sum(map(words, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Whole(encode({"object": "list", "data": data, "model": model, "usage": usage}))


def models(_incoming: Incoming) -> Answer:
    """GET /v1/models."""
    return Whole(encode({"object": "list", "data": [_model(name) for name in MODELS]}))


def model(incoming: Incoming) -> Answer:
    """GET /v1/models/{id}: any name is a model but `nonexistent-…`. Raises Refusal."""
    return Whole(encode(_model(known_model({"model": incoming.path.removeprefix("/v1/models/")}))))


def moderations(incoming: Incoming) -> Answer:
    """POST /v1/moderations: text with the word "violence" is flagged. Raises Refusal."""
    if "input" not in incoming.json:
        raise missing("input")
    results = []
    for text in _inputs(incoming.json["input"]):
        flags = {name: name == "violence" and name in text.lower() for name in _CATEGORIES}
        scores = {name: 0.9 if flagged else 0.01 for name, flagged in flags.items()}
        results.append({"flagged": any(flags.values()), "categories": flags, "category_scores": scores})
    model_name = incoming.json.get("model") or "omni-moderation-latest"
    return Whole(encode({"id": f"modr-{incoming.sha256[:24]}", "model": model_name, "results": results}))


def images(incoming: Incoming) -> Answer:
    """POST /v1/images/generations: one pixel, or a URL where `response_format` asks for one. Raises Refusal."""
    body = incoming.json
    if "prompt" not in body:
        raise missing("prompt")
    image = {"b64_json": _PIXEL}
    if body.get("response_format") == "url":
        image = {"url": f"https://images.example.com/{incoming.sha256[:16]}.png"}
    return Whole(encode({"created": CREATED, "data": [image] * (body.get("n") or 1)}))


def speech(incoming: Incoming) -> Answer:
    """POST /v1/audio/speech: bytes derived from the request, `size` of them (default 4096). Raises Refusal."""
    body = incoming.json
    known_model(body)
    if "input" not in body:
        raise missing("input")
    size = _SPEECH_SIZE if incoming.mode.size is None else incoming.mode.size
    block = hashlib.shake_256(incoming.sha256.encode()).digest(4096)
    audio = (block * (size // len(block) + 1))[:size]
    return Whole(audio, content_type=_AUDIO_TYPES.get(body.get("response_format") or "mp3", "audio/mpeg"))


def transcriptions(incoming: Incoming) -> Answer:
    """POST /v1/audio/transcriptions (multipart): names the file's size and SHA-256. Raises Refusal."""
    form = incoming.form
    file = form.file() if form else None
    if form is None or file is None:
        raise missing("file")
    known_model({"model": form.field("model")})
    text = f"{file.filename}: {file.size} bytes, sha256 {file.sha256}"
    if form.field("response_format") == "text":
        return Whole(text.encode() + b"\n", content_type="text/plain; charset=utf-8")
    return Whole(encode({"text": text, "size": file.size, "sha256": file.sha256}))


def files(incoming: Incoming) -> Answer:
    """POST /v1/files (multipart). Raises Refusal."""
    form = incoming.form
    file = form.file() if form else None
    if form is None or file is None:
        raise missing("file")
    return Whole(
        encode(
            {
                "id": f"file-{file.sha256[:24]}",
                "object": "file",
                "bytes": file.size,
                "created_at": CREATED,
                "filename": file.filename,
                "purpose": form.field("purpose") or "user_data",
                "status": "processed",
                "sha256": file.sha256,
            }
        )
    )


def echo(incoming: Incoming) -> Answer:
    """Any other path under /v1: what was received, credentials left out."""
    kept = tuple((name, value) for name, value in incoming.pairs if name.lower() in _ECHOED_HEADERS)
    return Whole(encode({"object": "echo", **incoming.described(kept)}))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}


def _inputs(value: Any) -> list[str]:
    """The texts of an input: a string, several, or token lists."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise Refusal(400, "Invalid 'input': expected a string or a non-empty array.", param="input")
    if isinstance(value[0], int):
        return [" ".join(map(str, value))]
    return [item if isinstance(item, str) else str(item) for item in value]


def _vector(text: str, dimensions: int) -> array[float]:
    """A unit vector of 32-bit floats that depends on the text alone."""
    raw = array("h", hashlib.shake_256(text.encode()).digest(2 * dimensions))
    norm = math.sqrt(sum(x * x for x in raw)) or 1.0
    return array("f", [x / norm for x in raw])


def fim(incoming: Incoming) -> Answer:
    """POST /v1/fim/completions, as Mistral has it: a prompt and a suffix, answered like a chat. Raises Refusal."""
    body = incoming.json
    if not isinstance(body.get("prompt"), str):
        raise missing("prompt")
    asked = {**body, "messages": [{"role": "user", "content": f"{body['prompt']} … {body.get('suffix') or ''}"}]}
    return chat(msgspec.structs.replace(incoming, json=asked))
