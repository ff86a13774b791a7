"""Google's Gemini: generateContent whole, as events and as an array, token counts, embeddings and the list of models.

Vertex AI answers the same below another path, and serves Anthropic's Messages there too.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from proxy.mock import anthropic, openai
from proxy.mock.answer import Answer, Family, Incoming, Pairs, Refusal, Route, Stream, Whole, bearer, encode, strings
from proxy.mock.text import Ask, Said, Stop, Tool, pieces, say, words

MODELS = ("gemini-3-flash-preview", "gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.5-flash")
EMBEDDING_MODELS = ("gemini-embedding-001",)
DIMENSIONS = 8
_PATH = re.compile(r"/v1(?:beta\d?)?/(?:projects/[^/]+/locations/[^/]+/publishers/(\w+)/)?models/([^/]+):(\w+)")
_ENDPOINT = re.compile(r"/v1beta1/projects/[^/]+/locations/[^/]+/endpoints/[^/]+/chat/completions")
_STOP: dict[Stop, str] = {"end": "STOP", "sequence": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ERROR: dict[str, Any] = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
_FIELDS = frozenset(
    (
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"),
        *("cachedContent", "labels", "serviceTier", "model"),
    )
)
_CONFIG = frozenset(
    (
        *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "logprobs"),
        *("presencePenalty", "frequencyPenalty", "responseLogprobs", "responseMimeType", "responseSchema"),
        *("responseJsonSchema", "responseModalities", "thinkingConfig", "speechConfig", "imageConfig"),
        *("mediaResolution",),
    )
)
"""What Google knows; it refuses every other name, so a translation that lets one through must not pass unseen."""
_SCHEMA = frozenset(
    (
        *("type", "format", "title", "description", "nullable", "enum", "properties", "required", "items", "minItems"),
        *("maxItems", "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf", "propertyOrdering"),
        *("default", "example", "minProperties", "maxProperties"),
    )
)


class Place(msgspec.Struct, frozen=True):
    """What a path says: whose model, which one, and what shall be done."""

    publisher: str
    model: str
    verb: str


def place(path: str) -> Place | None:
    """Reads a path such as `/v1beta/models/gemini-2.5-flash:generateContent`, or Vertex AI's longer one."""
    found = _PATH.fullmatch(unquote(path))
    return None if found is None else Place(found[1] or "google", found[2], found[3])


def endpoint(path: str) -> tuple[Route, str] | None:
    """Vertex AI's endpoints that speak OpenAI's dialect; the model is in the body."""
    return None if _ENDPOINT.fullmatch(path) is None else (Route(CHAT_FAMILY, openai.chat, outside=True), "")


def render(refusal: Refusal, digest: str) -> bytes:
    """The error body: `{"error": {code, message, status}}`."""
    status = refusal.type or _STATUSES.get(refusal.status, "UNKNOWN")
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message, "status": status}
    if refusal.status == 429:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]
    return encode({"error": error})


def refusal(status: int) -> Refusal:
    """What Google says with `status`."""
    return Refusal(status, f"The mock was asked for status {status}.")


def authenticate(headers: Mapping[str, str]) -> None:
    """Wants a key in `x-goog-api-key`, or a bearer token as Vertex AI does. Raises Refusal."""
    key = headers.get("x-goog-api-key", "").strip() or bearer(headers)
    if not key:
        raise Refusal(403, "Method doesn't allow unregistered callers.")
    if key.startswith("invalid"):
        raise Refusal(400, "API key not valid. Please pass a valid API key.")


def headers(digest: str) -> Pairs:
    """The fields Google sends with every answer."""
    return (("server-timing", "gfet4t7; dur=1"), ("x-frame-options", "SAMEORIGIN"))


CHAT_FAMILY = openai.FAMILY._replace(authenticate=lambda headers: authenticate(headers))
FAMILY = Family(render=render, headers=headers, authenticate=authenticate, refusal=refusal)


def generate(incoming: Incoming) -> Answer:
    """POST …:generateContent and …:streamGenerateContent. Raises Refusal."""
    body = _camel(incoming.json)
    at = place(incoming.path)
    assert at is not None
    model = body.pop("model")
    _check(body)
    ask = _ask(model, body, incoming.echo)
    said = say(ask, incoming.mode)
    thought = _thought(body, ask)
    base = {"modelVersion": model, "responseId": incoming.sha256[:22]}
    usage = _usage(body, said, thought)
    parts = _parts(said, thought, incoming.sha256)
    if at.verb == "generateContent":
        candidates = [_candidate(parts, _STOP[said.stop])]
        for number in range(1, body.get("generationConfig", {}).get("candidateCount", 1)):
            more = say(ask, incoming.mode, number)
            candidates.append(_candidate(_parts(more, thought, incoming.sha256), _STOP[more.stop], number))
        return Whole(encode({"candidates": candidates, "usageMetadata": usage, **base}))
    events = _events(said, parts, {**base, "usageMetadata": usage}, incoming.mode.chunks)
    if "alt=sse" in incoming.query:
        return Stream((b"data: " + encode(event) + b"\r\n\r\n" for event in events), _sse(_ERROR))
    return Stream(_array(events), b",\r\n" + encode(_ERROR) + b"]", "application/json; charset=UTF-8")


def _camel(value: Any) -> Any:
    """Google takes its fields in both spellings. What is the client's own keeps its names."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = ((re.sub(r"_([a-z])", lambda found: found[1].upper(), name), each) for name, each in value.items())
    return {name: each if name in _DATA else _camel(each) for name, each in named}


_DATA = frozenset(("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"))


def _sse(event: dict[str, Any]) -> bytes:
    return b"data: " + encode(event) + b"\r\n\r\n"


def _array(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        yield (b",\r\n" if number else b"[") + encode(event)
    yield b"]"


def count_tokens(incoming: Incoming) -> Answer:
    """POST …:countTokens. Raises Refusal."""
    body = _camel(incoming.json)
    body.update(body.get("generateContentRequest", {}))
    return Whole(encode({"totalTokens": _words_of(body)}))


def embed(incoming: Incoming) -> Answer:
    """POST …:embedContent, …:batchEmbedContents and Vertex AI's …:predict. Raises Refusal."""
    at, body = place(incoming.path), _camel(incoming.json)
    assert at is not None
    if at.verb == "predict":
        wish = body.get("parameters", {}).get("outputDimensionality", DIMENSIONS)
        vectors = [_vector(each["content"], wish) for each in body["instances"]]
        return Whole(
            encode(
                {
                    "predictions": [
                        {
                            "embeddings": {
                                "values": vector,
                                "statistics": {"token_count": words(each["content"]), "truncated": False},
                            }
                        }
                        for vector, each in zip(vectors, body["instances"], strict=True)
                    ]
                }
            )
        )
    if at.verb == "embedContent":
        return Whole(encode({"embedding": {"values": _embedded(body)}}))
    for each in body["requests"]:
        if each.get("model") != f"models/{incoming.json['model']}":
            raise Refusal(400, f"* BatchEmbedContentsRequest.requests[0].model: must be models/{at.model}")
    return Whole(encode({"embeddings": [{"values": _embedded(each)} for each in body["requests"]]}))


def _embedded(request: Mapping[str, Any]) -> list[float]:
    text = " ".join(part.get("text", "") for part in request["content"]["parts"])
    return _vector(text, request.get("outputDimensionality", DIMENSIONS))


def _vector(text: str, size: int) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[at % 32] / 256 for at in range(size)]


def raw_predict(incoming: Incoming) -> Answer:
    """POST …/publishers/anthropic/models/…:rawPredict and :streamRawPredict. Raises Refusal."""
    body = incoming.json
    at = place(incoming.path)
    if at is not None and at.publisher == "mistralai":
        return openai.chat(incoming)
    if not body.pop("anthropic_version", None):
        raise Refusal(400, "anthropic_version: Field required")
    if at is not None and at.model == "count-tokens":
        return anthropic.count_tokens(incoming)
    return anthropic.messages(incoming)


def models(incoming: Incoming) -> Answer:
    """GET /v1beta/models."""
    data = [{"name": f"models/{name}", "displayName": name} for name in (*MODELS, *EMBEDDING_MODELS)]
    return Whole(encode({"models": data}))


def _check(body: Mapping[str, Any]) -> None:
    config = body.get("generationConfig") or {}
    for place_, given, known in (("", body, _FIELDS), (" at 'generation_config'", config, _CONFIG)):
        for name in given:
            if name not in known:
                raise Refusal(400, f'Invalid JSON payload received. Unknown name "{name}"{place_}: Cannot find field.')
    if not body.get("contents"):
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified")
    for tool in body.get("tools") or ():
        for each in tool.get("functionDeclarations") or ():
            _check_schema(each.get("parameters") or {})
    _check_calls(body["contents"])


def _check_schema(schema: Mapping[str, Any]) -> None:
    for name, value in schema.items():
        if name not in _SCHEMA:
            raise Refusal(
                400, f'Invalid JSON payload received. Unknown name "{name}" at parameters: Cannot find field.'
            )
        if name == "type" and not isinstance(value, str):
            raise Refusal(400, "Proto field is not repeating, cannot start list.")
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for each in [*inner, schema["items"]] if "items" in schema else inner:
        _check_schema(each)


def _check_calls(contents: list[dict[str, Any]]) -> None:
    """As many results as calls, in the turn right after them."""
    calls = 0
    for content in contents:
        if content.get("role", "user") not in ("user", "model", "function"):
            raise Refusal(400, "Please use a valid role: user, model.")
        parts = content.get("parts") or []
        results = sum("functionResponse" in part for part in parts)
        if results != calls and content.get("role") != "model":
            message = "the number of function response parts is equal to the number of function call parts"
            raise Refusal(400, f"Please ensure that {message} of the function call turn.")
        calls = sum("functionCall" in part for part in parts)


def _texts(content: Any) -> list[str]:
    parts = (content or {}).get("parts") or []
    return [part["text"] for part in parts if "text" in part and not part.get("thought")]


def _ask(model: str, body: Mapping[str, Any], echo: str | None) -> Ask:
    contents, config = body["contents"], body.get("generationConfig") or {}
    last = contents[-1]
    results = [part["functionResponse"] for part in last.get("parts") or () if "functionResponse" in part]
    user = next((each for each in reversed(contents) if each.get("role", "user") == "user"), last)
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    names = calling.get("allowedFunctionNames") or []
    mode = {"ANY": "any", "NONE": "none"}.get(calling.get("mode", "AUTO"), "auto")
    media = [part.get("inlineData") or part.get("fileData") for part in user.get("parts") or ()]
    return Ask(
        model=model,
        text=" ".join(_texts(user)),
        tool_result=" ".join(_result(each) for each in results) if results else None,
        attachments=tuple(str(each.get("mimeType", "file")).partition("/")[0] for each in media if each),
        tools=tuple(_tools(body)),
        choice=f"={names[0]}" if mode == "any" and len(names) == 1 else mode,
        schema=config.get("responseJsonSchema") or _plain(config.get("responseSchema")),
        max_tokens=config.get("maxOutputTokens"),
        stop=strings(config.get("stopSequences")),
        echo=echo,
    )


def _tools(body: Mapping[str, Any]) -> Iterator[Tool]:
    for tool in body.get("tools") or ():
        for each in tool.get("functionDeclarations") or ():
            yield Tool(each["name"], each.get("parametersJsonSchema") or _plain(each.get("parameters") or {}))


def _plain(schema: Any) -> Any:
    """Google's own form of a schema with the types in lower case."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _plain(value)
        for name, value in schema.items()
    }


def _result(response: Mapping[str, Any]) -> str:
    given = response.get("response") or {}
    return str(given.get("output", given.get("error", given.get("result", encode(given).decode()))))


def _thought(body: Mapping[str, Any], ask: Ask) -> str | None:
    thinking = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    return f"The user wants: {ask.text.strip()[:80]}" if thinking.get("includeThoughts") else None


def _words_of(body: Mapping[str, Any]) -> int:
    return sum(words(text) for each in (body.get("systemInstruction"), *body["contents"]) for text in _texts(each))


def _usage(body: Mapping[str, Any], said: Said, thought: str | None) -> dict[str, Any]:
    prompt, thoughts = _words_of(body), words(thought or "")
    usage: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": said.tokens}
    usage["totalTokenCount"] = prompt + said.tokens + thoughts
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage


def _parts(said: Said, thought: str | None, digest: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if thought is not None:
        parts.append({"text": thought, "thought": True})
    if said.text or not said.calls:
        parts.append({"text": said.text})
    for number, call in enumerate(said.calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": msgspec.Raw(call.arguments.encode())}}
        if number == 0:
            part["thoughtSignature"] = b64encode(digest[:24].encode()).decode()
        parts.append(part)
    return parts


def _candidate(parts: list[dict[str, Any]], reason: str | None, index: int = 0) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    if reason is not None:
        candidate["finishReason"] = reason
    return candidate


def _events(said: Said, parts: list[dict[str, Any]], base: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    for part in parts:
        plain = "text" in part and not part.get("thought")
        for piece in [{"text": text} for text in pieces(part["text"], count)] if plain else [part]:
            yield {"candidates": [_candidate([piece], None)], **base}
    yield {"candidates": [_candidate([{"text": ""}], _STOP[said.stop])], **base}


VERBS = {
    "generateContent": generate,
    "streamGenerateContent": generate,
    "countTokens": count_tokens,
    "embedContent": embed,
    "batchEmbedContents": embed,
    "predict": embed,
    "rawPredict": raw_predict,
    "streamRawPredict": raw_predict,
}
