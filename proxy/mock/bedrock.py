"""AWS Bedrock's runtime: Converse and InvokeModel, whole and as event streams, CountTokens and Titan's embeddings.

Requests must be signed (Signature Version 4: of it, form and the hash of the body are looked at) or bring
a Bedrock API key.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from adapters.framing.eventstream import frame
from proxy.mock import anthropic, openai_more
from proxy.mock.answer import Answer, Family, Incoming, Pairs, Refusal, Route, Stream, Whole, bearer, encode
from proxy.mock.text import Ask, Said, Stop, Tool, pieces, say, words

_PLACE = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)")
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[\w+=,.@-]+/\d{8}/[a-z0-9-]+/bedrock/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}"
)
_STREAM = "application/vnd.amazon.eventstream"
_FAILURE = frame("modelStreamErrorException", b'{"message":"The model failed while it answered."}', "exception")
_STOP: dict[Stop, str] = {
    "end": "end_turn",
    "sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
}
_ATTACHMENTS = ("image", "document", "video", "audio")
_KNOWN = frozenset(
    (
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields"),
        *("additionalModelResponseFieldPaths", "performanceConfig", "promptVariables", "requestMetadata"),
        *("outputConfig", "serviceTier"),
    )
)


def render(refusal: Refusal, digest: str) -> bytes:
    """The error body: `{"message"}`."""
    return encode({"message": refusal.message})


def refusal(status: int) -> Refusal:
    """What Bedrock says with `status`."""
    if status == 429:
        return Refusal(429, "Too many requests, please wait before trying again.")
    return Refusal(status, f"The mock was asked for status {status}.")


def headers(digest: str) -> Pairs:
    """The fields that come with every answer."""
    return (("x-amzn-requestid", f"{digest[:8]}-0000-4000-8000-{digest[:12]}"),)


def authenticate(headers: Mapping[str, str]) -> None:
    """Wants a signature over host, date and body, or a Bedrock API key. Raises Refusal."""
    key = bearer(headers)
    if key and not key.startswith("invalid"):
        return
    signed = _SIGNED.fullmatch(headers.get("authorization", ""))
    if signed is None or not headers.get("x-amz-date"):
        raise Refusal(403, "Missing Authentication Token")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed[1].split(";")):
        raise Refusal(403, "'Host' must be a 'SignedHeader' in the AWS Authorization.")


FAMILY = Family(render=render, headers=headers, authenticate=authenticate, refusal=refusal)


def place(path: str) -> tuple[Route, str] | None:
    """Who answers a path, and the model that it names; None for a path that is not Bedrock's."""
    found = _PLACE.fullmatch(path)
    if found is None:
        return None
    return Route(FAMILY, _hashed(_ANSWERS[found[2]]), outside=True), unquote(found[1])


def _hashed(answer: Callable[[Incoming], Answer]) -> Callable[[Incoming], Answer]:
    def checked(incoming: Incoming) -> Answer:
        if not bearer(incoming.headers) and incoming.headers.get("x-amz-content-sha256") != incoming.sha256:
            raise Refusal(403, "The request signature we calculated does not match the signature you provided.")
        return answer(incoming)

    return checked


def _converse(incoming: Incoming) -> Answer:
    said, thinking, usage = _said(incoming)
    message = {"role": "assistant", "content": _blocks(said, thinking, incoming.sha256)}
    answer = {"output": {"message": message}, "stopReason": _STOP[said.stop], "usage": usage}
    return Whole(encode({**answer, "metrics": {"latencyMs": 1}}))


def _converse_stream(incoming: Incoming) -> Answer:
    said, thinking, usage = _said(incoming)
    blocks = _blocks(said, thinking, incoming.sha256)
    return Stream(_events(blocks, _STOP[said.stop], usage, incoming.mode.chunks), _FAILURE, _STREAM)


def _said(incoming: Incoming) -> tuple[Said, str | None, dict[str, int]]:
    body = incoming.json
    model = body.pop("model")
    for name in body:
        if name not in _KNOWN:
            raise Refusal(400, f"#: extraneous key [{name}] is not permitted")
    if not body.get("messages"):
        raise Refusal(400, "The value at messages must have at least 1 item.")
    ask = _ask(model, body, incoming.echo)
    said = say(ask, incoming.mode)
    wish = body.get("additionalModelRequestFields", {}).get("thinking") or {}
    thinking = f"The user wants: {ask.text.strip()[:80]}" if wish.get("type") in ("enabled", "adaptive") else None
    written = _cached(body)
    texts = [block.get("text", "") for turn in body["messages"] for block in turn["content"]]
    counted = sum(map(words, texts)) + sum(words(block.get("text", "")) for block in body.get("system", ()))
    output = said.tokens + words(thinking or "")
    usage = {"inputTokens": counted - written, "outputTokens": output, "totalTokens": counted + output}
    return said, thinking, {**usage, "cacheReadInputTokens": 0, "cacheWriteInputTokens": written}


def _cached(body: Mapping[str, Any]) -> int:
    """The words of the system prompt before its last cache point, which count as written to the cache."""
    blocks = body.get("system", [])
    marks = [at for at, block in enumerate(blocks) if "cachePoint" in block]
    return sum(words(block.get("text", "")) for block in blocks[: marks[-1]]) if marks else 0


def _ask(model: str, body: Mapping[str, Any], echo: str | None) -> Ask:
    content = next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")
    results = [block["toolResult"] for block in content if "toolResult" in block]
    config = body.get("toolConfig", {})
    choice = config.get("toolChoice") or {"auto": {}}
    kind = next(iter(choice))
    specs = [tool["toolSpec"] for tool in config.get("tools", ()) if "toolSpec" in tool]
    inference = body.get("inferenceConfig", {})
    text_format = body.get("outputConfig", {}).get("textFormat", {})
    schema = text_format.get("structure", {}).get("jsonSchema", {}).get("schema")
    return Ask(
        model=model,
        text=" ".join(block["text"] for block in content if "text" in block),
        tool_result=" ".join(b.get("text", "") for r in results for b in r["content"]) if results else None,
        attachments=tuple(kind for block in content for kind in _ATTACHMENTS if kind in block),
        tools=tuple(Tool(spec["name"], spec["inputSchema"]["json"]) for spec in specs),
        choice=f"={choice['tool']['name']}" if kind == "tool" else kind,
        schema=msgspec.json.decode(schema) if schema else None,
        max_tokens=inference.get("maxTokens"),
        stop=tuple(inference.get("stopSequences", ())),
        echo=echo,
    )


def _blocks(said: Said, thinking: str | None, digest: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thinking is not None:
        text = {"text": thinking, "signature": b64encode(thinking.encode()).decode()}
        blocks.append({"reasoningContent": {"reasoningText": text}})
    if said.text or not said.calls:
        blocks.append({"text": said.text})
    for i, call in enumerate(said.calls):
        arguments = msgspec.Raw(call.arguments.encode())
        blocks.append({"toolUse": {"toolUseId": f"tooluse_{i}{digest[:20]}", "name": call.name, "input": arguments}})
    return blocks


def _events(blocks: list[dict[str, Any]], reason: str, usage: dict[str, int], count: int) -> Iterator[bytes]:
    yield _event("messageStart", {"role": "assistant"})
    for i, block in enumerate(blocks):
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            yield _event("contentBlockStart", {"contentBlockIndex": i, "start": start})
            texts = pieces(bytes(use["input"]).decode(), count or 4)
            deltas: list[dict[str, Any]] = [{"toolUse": {"input": text}} for text in texts]
        elif "text" in block:
            deltas = [{"text": text} for text in pieces(block["text"], count)]
        else:
            text = block["reasoningContent"]["reasoningText"]
            deltas = [{"reasoningContent": {"text": piece}} for piece in pieces(text["text"], count)]
            deltas.append({"reasoningContent": {"signature": text["signature"]}})
        for delta in deltas:
            yield _event("contentBlockDelta", {"contentBlockIndex": i, "delta": delta})
        yield _event("contentBlockStop", {"contentBlockIndex": i})
    yield _event("messageStop", {"stopReason": reason})
    yield _event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return frame(name, encode({**fields, "p": "abcdefghij"}))


def _invoke(incoming: Incoming) -> Answer:
    body = incoming.json
    if "titan-embed" in body["model"]:
        asked = {"model": body["model"], "input": body["inputText"]}
        made = openai_more.embeddings(msgspec.structs.replace(incoming, json=asked))
        assert isinstance(made, Whole)
        vector = msgspec.json.decode(made.body)["data"][0]["embedding"]
        return Whole(encode({"embedding": vector, "inputTextTokenCount": words(body["inputText"])}))
    return anthropic.messages(msgspec.structs.replace(incoming, json=_messages(body)))


def _invoke_stream(incoming: Incoming) -> Answer:
    made = anthropic.messages(msgspec.structs.replace(incoming, json={**_messages(incoming.json), "stream": True}))
    assert isinstance(made, Stream)
    return Stream(_wrapped(made), _FAILURE, _STREAM)


def _wrapped(made: Stream) -> Iterator[bytes]:
    for event in made.events:
        data = event.partition(b"\ndata: ")[2].strip()
        if b'"ping"' not in data[:20]:
            yield frame("chunk", encode({"bytes": b64encode(data).decode(), "p": "abcdef"}))


def _messages(body: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's request in Bedrock's. Raises Refusal for what Bedrock has elsewhere."""
    if not body.get("anthropic_version"):
        raise Refusal(400, "anthropic_version: Field required")
    if "stream" in body:
        raise Refusal(400, "stream: Extra inputs are not permitted")
    return {name: value for name, value in body.items() if name not in ("anthropic_version", "anthropic_beta")}


def _count(incoming: Incoming) -> Answer:
    body = msgspec.json.decode(b64decode(incoming.json["input"]["invokeModel"]["body"]))
    asked = {**_messages(body), "model": incoming.json["model"]}
    made = anthropic.count_tokens(msgspec.structs.replace(incoming, json=asked))
    assert isinstance(made, Whole)
    return Whole(encode({"inputTokens": msgspec.json.decode(made.body)["input_tokens"]}))


_ANSWERS: dict[str, Callable[[Incoming], Answer]] = {
    "converse": _converse,
    "converse-stream": _converse_stream,
    "invoke": _invoke,
    "invoke-with-response-stream": _invoke_stream,
    "count-tokens": _count,
}
