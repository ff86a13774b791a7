"""Recorded answers of Bedrock, where they lie beside this repository: what the recording says, a chat client reads, and
what it sends back is what the model had said."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.bedrock import CHAT_TO_CONVERSE, COUNT_TO_COUNT, MESSAGES_TO_INVOKE
from adapters.errors import Kind
from tests.adapters.bedrock.streams import call
from tests.adapters.bedrock.test_stream import chunks, deltas, run
from tests.adapters.recordings import ROOT


def recorded(ending: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(ROOT.glob("exchanges/bedrock-runtime*/*.json")):
        for number, each in enumerate(json.loads(path.read_text())):
            if each["request"]["url"].endswith(ending):
                yield f"{path.stem}/{number}", each["response"]


def bodies(ending: str, status: int) -> dict[str, bytes]:
    found = {}
    for name, response in recorded(ending):
        if (response["status"] == 200) == (status == 200):
            text = response.get("text")
            found[name] = json.dumps(response["json"]).encode() if text is None else text.encode()
    return found


WHOLE = {name: body for name, body in bodies("/converse", 200).items() if body}
for fixture in sorted(ROOT.glob("fixtures/amazon-bedrock/*.json")):
    if b'"output"' in (body := fixture.read_bytes()):
        WHOLE[fixture.stem] = body
STREAMS = {
    name: base64.b64decode(response["base64"])
    for name, response in recorded("/converse-stream")
    if "base64" in response
}


def counted(usage: dict[str, Any]) -> tuple[int, int, int]:
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return usage["inputTokens"] + read + written, usage["outputTokens"], read


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_read_and_can_be_sent_back(name: str) -> None:
    theirs = json.loads(WHOLE[name])
    said = theirs["output"]["message"]["content"]
    reply = CHAT_TO_CONVERSE.response(call(blocks=True), WHOLE[name])
    ours = json.loads(reply.body)
    message = ours["choices"][0]["message"]
    assert (message["content"] or "") == "".join(block.get("text", "") for block in said)
    uses = [block["toolUse"] for block in said if "toolUse" in block]
    calls = message.get("tool_calls", [])
    assert [(each["id"], each["function"]["name"]) for each in calls] == [
        (each["toolUseId"], each["name"]) for each in uses
    ]
    assert [json.loads(each["function"]["arguments"]) for each in calls] == [each["input"] for each in uses]
    prompt, completion, cached = counted(theirs["usage"])
    usage = ours["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        prompt,
        completion,
        theirs["usage"]["totalTokens"],
    )
    assert usage["prompt_tokens_details"]["cached_tokens"] == cached

    history: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}, message]}
    if not all(_is_signed(block) for block in message.get("content_blocks", ())):
        # Not Claude's, which would refuse it.
        history["model"] = "openai.gpt-oss-120b-1:0"
    back = json.loads(CHAT_TO_CONVERSE.request(call(history)).body)["messages"]
    kept = [_untyped(block) for block in said if block.get("text") != ""]
    # A chat message has all its calls after its text, so a text between two calls changes places.
    kept.sort(key=lambda block: "toolUse" in block)
    assert (back[1]["content"] if len(back) > 1 else []) == kept


def _is_signed(block: dict[str, Any]) -> bool:
    return block["type"] != "thinking" or bool(block.get("signature"))


def _untyped(block: dict[str, Any]) -> dict[str, Any]:
    """A block without the `type` that some answers add and no request has."""
    return {
        kind: {k: v for k, v in value.items() if k != "type"} if kind == "toolUse" else value
        for kind, value in block.items()
        if kind != "type"
    }


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_as_the_sdk_reads_it(name: str) -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(STREAMS[name])
    text, arguments, reason, usage, thought = "", "", "", {}, ""
    for each in buffer:
        value = json.loads(each.payload)
        delta = value.get("delta", {})
        text += delta.get("text", "")
        thought += delta.get("reasoningContent", {}).get("text", "")
        arguments += delta.get("toolUse", {}).get("input", "")
        reason = value.get("stopReason", reason)
        usage = value.get("usage", usage)

    of = call({"stream": True, "stream_options": {"include_usage": True}}, strict=False)
    out, machine = run(STREAMS[name], of)
    assert machine.error is None
    pieces = CHAT_TO_CONVERSE.stream(of)
    slow = b"".join(pieces.feed(STREAMS[name][at : at + 1]) for at in range(len(STREAMS[name]))) + pieces.close()
    assert slow == out
    found = deltas(out)
    assert "".join(each.get("content") or "" for each in found) == text
    assert (
        "".join(t["function"].get("arguments", "") for each in found for t in each.get("tool_calls", ())) == arguments
    )
    shown = [block["delta"] for each in found for block in each.get("content_blocks", ())]
    assert "".join(block.get("thinking", "") for block in shown) == thought
    last = [each for each in chunks(out) if each["choices"]][-1]
    assert last["choices"][0]["finish_reason"] == reason
    told = chunks(out)[-1]["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == counted(usage)[:2]


@pytest.mark.parametrize("name", refused := bodies("/converse", 400) | bodies("/count-tokens", 400))
def test_an_error_keeps_its_message(name: str) -> None:
    error = CHAT_TO_CONVERSE.error(400, {}, refused[name])
    assert error.kind is Kind.INVALID_REQUEST
    assert error.message == json.loads(refused[name])["message"]


@pytest.mark.parametrize("name", invoked := bodies("/invoke", 200))
def test_an_invoked_message_is_the_bytes_that_came(name: str) -> None:
    reply = MESSAGES_TO_INVOKE.response(call(), invoked[name])
    assert reply.body == invoked[name]
    usage = json.loads(invoked[name])["usage"]
    assert reply.usage is not None
    assert reply.usage.output == usage["output_tokens"]
    assert reply.usage.cached == usage["cache_read_input_tokens"]


def test_a_recorded_count_is_asked_for_as_the_sdk_does() -> None:
    for path in ROOT.glob("exchanges/bedrock-runtime*/*count_tokens*.json"):
        for each in json.loads(path.read_text()):
            wrapped = base64.b64decode(each["request"]["json"]["input"]["invokeModel"]["body"])
            of = call(raw=json.dumps({"model": "m", **json.loads(wrapped)}).encode())
            made = json.loads(COUNT_TO_COUNT.request(of).body)["input"]["invokeModel"]["body"]
            assert json.loads(base64.b64decode(made)) == json.loads(wrapped)
