"""What a recording's own SDK reads from it, without the gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import anthropic
import boto3
import cohere
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.matrix import clients
from tests.matrix.cases import Failed, Seen

Read = Callable[[str, str, bool], "Seen | Failed"]
"""Reads with an SDK: the provider's address, the model, and whether the answer streams."""


def _openai(url: str, model: str, streamed: bool) -> Seen | Failed:
    return clients.ask_portkey(url, "sk-1", "", model, streamed)


def _responses(url: str, model: str, streamed: bool) -> Seen | Failed:
    return clients.ask_responses(url, "sk-1", "", model, streamed)


def _anthropic(url: str, model: str, streamed: bool) -> Seen | Failed:
    return clients.ask_messages(url, "sk-1", "", model, streamed)


def _gemini(url: str, model: str, streamed: bool) -> Seen | Failed:
    return clients.ask_gemini(url, "sk-1", "", model, streamed)


@cache
def _aws(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="AKIA0000000000000000",
        aws_secret_access_key="not-a-secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def _converse(url: str, model: str, streamed: bool) -> Seen | Failed:
    try:
        return _conversed(_aws(url), model, streamed)
    except ClientError as error:
        return Failed(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Message"])


def _conversed(client: Any, model: str, streamed: bool) -> Seen:
    request: Any = {"modelId": model, "messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    if not streamed:
        whole = client.converse(**request)
        return _converse_seen(whole["output"]["message"]["content"], whole["stopReason"], whole["usage"])
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = "", {}
    for event in client.converse_stream(**request)["stream"]:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            use = start["start"]["toolUse"]
            blocks[start["contentBlockIndex"]] = {"toolUse": {"name": use["name"], "input": ""}}
        elif "contentBlockDelta" in event:
            delta = event["contentBlockDelta"]
            block = blocks.setdefault(delta["contentBlockIndex"], {})
            if "text" in delta["delta"]:
                block["text"] = block.get("text", "") + delta["delta"]["text"]
            elif "toolUse" in delta["delta"]:
                block["toolUse"]["input"] += delta["delta"]["toolUse"]["input"]
        elif "messageStop" in event:
            stop = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return _converse_seen([blocks[index] for index in sorted(blocks)], stop, usage)


def _converse_seen(content: list[dict[str, Any]], stop: str, usage: dict[str, Any]) -> Seen:
    text = "".join(block["text"] for block in content if "text" in block)
    calls = tuple((block["toolUse"]["name"], block["toolUse"]["input"]) for block in content if "toolUse" in block)
    cached = usage.get("cacheReadInputTokens", 0)
    read = usage["inputTokens"] + cached + usage.get("cacheWriteInputTokens", 0)
    return Seen(text, calls, "", clients.stop_of(stop), read, usage["outputTokens"], cached)


def _invoke(url: str, model: str, streamed: bool) -> Seen | Failed:
    client = anthropic.AnthropicBedrock(
        base_url=url,
        aws_region="us-east-1",
        aws_access_key="AKIA0000000000000000",
        aws_secret_key="not-a-secret",
        max_retries=0,
    )
    return clients.messages_seen(client, model, streamed)


def _cohere(url: str, model: str, streamed: bool) -> Seen | Failed:
    client = cohere.ClientV2(api_key="sk-1", base_url=url)
    assert not streamed, "no stream is recorded"
    whole: Any = client.chat(model=model, messages=[{"role": "user", "content": "hello"}])
    content = whole.message.content or ()
    # What it says before it calls tools has a field of its own; elsewhere that is text.
    text = (whole.message.tool_plan or "") + "".join(part.text for part in content if part.type == "text")
    calls = tuple((call.function.name, json.loads(call.function.arguments)) for call in whole.message.tool_calls or ())
    tokens = whole.usage.tokens
    stop = clients.stop_of(whole.finish_reason)
    return Seen(text, calls, "", stop, int(tokens.input_tokens), int(tokens.output_tokens))


INVOKE = "Anthropic on Bedrock"

NATIVES: dict[str, Read] = {
    "OpenAI chat": _openai,
    "OpenAI Responses": _responses,
    "Anthropic Messages": _anthropic,
    "Gemini": _gemini,
    "Bedrock Converse": _converse,
    INVOKE: _invoke,
    "Cohere v2": _cohere,
}
