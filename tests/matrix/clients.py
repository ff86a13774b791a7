"""The official SDKs as clients of the gateway: each asks for a case in its own words and gives what it read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import anthropic
import httpx
import openai
import portkey_ai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.matrix.cases import OSLO, PARAMETERS, PARIS, PIXEL, QUESTION, SCHEMA, TOOL, Failed, Seen

Ask = Callable[[str, str, str, str, bool], "Seen | Failed"]
"""Asks with an SDK: the gateway's address, its key, the virtual key, the model and whether to stream; `case` is in the
model's name."""

_RESULTS = ((PARIS, "eighteen degrees"), (OSLO, "four degrees"))
_DESCRIPTION = "Tells the weather"


def _case(model: str) -> str:
    return model.rpartition("--")[2].replace("-", " ")


def stop_of(word: str | None) -> str:
    """A stop reason in OpenAI's words, whatever language it came in: who is not strict gets the provider's."""
    return {
        "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop",
        "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "STOP": "stop",
        "max_tokens": "length", "MAX_TOKENS": "length",
        "SAFETY": "content_filter", "refusal": "content_filter",
        "tool_use": "tool_calls", "TOOL_CALL": "tool_calls", "UNEXPECTED_TOOL_CALL": "tool_calls",
    }.get(word or "", word or "")  # fmt: skip


# OpenAI chat


def _chat_request(model: str) -> dict[str, Any]:
    case = _case(model)
    content: Any = QUESTION
    request: dict[str, Any] = {"model": model, "max_completion_tokens": 3000}
    if case == "images":
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        content = [{"type": "text", "text": QUESTION}, image]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": content},
    ]
    if case in ("tools", "parallel tools", "tool results"):
        function = {"name": TOOL, "description": _DESCRIPTION, "parameters": PARAMETERS}
        request["tools"] = [{"type": "function", "function": function}]
    if case == "tool results":
        calls = [
            {"id": call.id, "type": "function", "function": {"name": TOOL, "arguments": json.dumps(call.arguments)}}
            for call, _ in _RESULTS
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": call.id, "content": said} for call, said in _RESULTS]
    if case == "thinking":
        request["reasoning_effort"] = "low"
    if case == "JSON schema":
        schema = {"name": "city", "schema": SCHEMA, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**request, "messages": messages}


def _details(usage: Any) -> tuple[int, int, int]:
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", 0) if details is not None else 0
    return usage.prompt_tokens, usage.completion_tokens, cached or 0


def _prose(content: Any) -> str:
    """The text of a message, which some compatible hosts give as a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def _thought(blocks: Any) -> str:
    return "".join(block.get("thinking") or "" for block in blocks or () if isinstance(block, dict))


def _chat(client: Any, model: str, streamed: bool) -> Seen:
    request = _chat_request(model)
    if not streamed:
        whole = client.chat.completions.create(**request)
        choice = whole.choices[0]
        calls = tuple(
            (call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()
        )
        thinking = _thought(getattr(choice.message, "content_blocks", None))
        thinking = thinking or getattr(choice.message, "reasoning_content", None) or ""
        return Seen(
            _prose(choice.message.content), calls, thinking, stop_of(choice.finish_reason), *_details(whole.usage)
        )
    text, thinking, stop = "", "", None
    named: dict[int, str] = {}
    arguments: dict[int, str] = {}
    counted = (0, 0, 0)
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            counted = _details(chunk.usage)
        for choice in chunk.choices or ():
            delta = choice.delta
            text += _prose(delta.content)
            blocks = getattr(delta, "content_blocks", None) or ()
            thinking += _thought([block.get("delta", {}) for block in blocks if isinstance(block, dict)])
            thinking += getattr(delta, "reasoning_content", None) or ""
            for call in delta.tool_calls or ():
                named[call.index] = named.get(call.index, "") + (call.function.name or "")
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
            stop = choice.finish_reason or stop
    calls = tuple((named[index], json.loads(arguments[index])) for index in sorted(named))
    return Seen(text, calls, thinking, stop_of(stop), *counted)


def _openai_failed(error: openai.APIError) -> Failed:
    if isinstance(error, openai.APIStatusError):
        return Failed(error.status_code, error.message, error.response.headers.get("retry-after"))
    return Failed(0, error.message)


# Made once for each address and key: making one takes longer than asking with it.


@cache
def _openai_client(url: str, key: str, slug: str) -> openai.OpenAI:
    headers = {"x-portkey-virtual-key": slug}
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, default_headers=headers, max_retries=0)


@cache
def _portkey_client(url: str, key: str, slug: str) -> portkey_ai.Portkey:
    return portkey_ai.Portkey(base_url=f"{url}/v1", api_key=key, virtual_key=slug)


@cache
def _anthropic_client(url: str, key: str, slug: str) -> anthropic.Anthropic:
    headers = {"x-portkey-virtual-key": slug}
    return anthropic.Anthropic(base_url=url, api_key=key, default_headers=headers, max_retries=0)


@cache
def _genai_client(url: str, key: str, slug: str) -> genai.Client:
    options = types.HttpOptions(base_url=url, headers={"x-portkey-virtual-key": slug})
    return genai.Client(api_key=key, http_options=options)


def ask_chat(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """openai's SDK, chat."""
    try:
        return _chat(_openai_client(url, key, slug), model, streamed)
    except openai.APIError as error:
        return _openai_failed(error)


def ask_portkey(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """portkey-ai's SDK, chat: not strict, so that answers carry content blocks."""
    client = _portkey_client(url, key, slug)
    try:
        return _chat(client, model, streamed)
    except Exception as error:
        # It has a copy of openai's classes, not these.
        status = getattr(error, "status_code", 0)
        response = getattr(error, "response", None)
        return Failed(status, str(error), None if response is None else response.headers.get("retry-after"))


# OpenAI text completions


def ask_completions(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """openai's SDK, text completions."""
    client = _openai_client(url, key, slug)
    try:
        if not streamed:
            whole = client.completions.create(model=model, prompt=QUESTION, max_tokens=3000)
            counted = _details(whole.usage)
            return Seen(whole.choices[0].text, (), "", stop_of(whole.choices[0].finish_reason), *counted)
        text, stop, counted = "", None, (0, 0, 0)
        options: Any = {"include_usage": True}
        for chunk in client.completions.create(
            model=model, prompt=QUESTION, max_tokens=3000, stream=True, stream_options=options
        ):
            if chunk.usage:
                counted = _details(chunk.usage)
            for choice in chunk.choices:
                text += choice.text
                stop = choice.finish_reason or stop
        return Seen(text, (), "", stop_of(stop), *counted)
    except openai.APIError as error:
        return _openai_failed(error)


# OpenAI Responses


def _responses_request(model: str) -> dict[str, Any]:
    case = _case(model)
    content: list[dict[str, Any]] = [{"type": "input_text", "text": QUESTION}]
    request: dict[str, Any] = {"model": model, "instructions": "Be brief.", "max_output_tokens": 3000, "store": False}
    if case == "images":
        content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
    items: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": content}]
    if case in ("tools", "parallel tools", "tool results"):
        tool = {"type": "function", "name": TOOL, "description": _DESCRIPTION}
        request["tools"] = [{**tool, "parameters": PARAMETERS, "strict": False}]
    if case == "tool results":
        items += [
            {"type": "function_call", "call_id": call.id, "name": TOOL, "arguments": json.dumps(call.arguments)}
            for call, _ in _RESULTS
        ]
        items += [{"type": "function_call_output", "call_id": call.id, "output": said} for call, said in _RESULTS]
    if case == "thinking":
        request["reasoning"] = {"effort": "low", "summary": "auto"}
    if case == "JSON schema":
        request["text"] = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}}
    return {**request, "input": items}


def _responses_seen(response: Any) -> Seen:
    text, thinking, calls = "", "", []
    for item in response.output:
        if item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
        elif item.type == "function_call":
            calls.append((item.name, json.loads(item.arguments)))
        elif item.type == "reasoning":
            thinking += "".join(part.text for part in item.summary)
            thinking += "".join(part.text for part in item.content or ()) if not item.summary else ""
    stop = "tool_calls" if calls else "stop"
    if response.status in ("queued", "in_progress"):
        stop = response.status
    if response.status == "incomplete":
        stop = {"max_output_tokens": "length"}.get(response.incomplete_details.reason, "content_filter")
    usage = response.usage
    if usage is None:
        return Seen(text, tuple(calls), thinking, stop)
    counted = (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)
    return Seen(text, tuple(calls), thinking, stop, *counted)


def ask_responses(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """openai's SDK, Responses."""
    client = _openai_client(url, key, slug)
    request = _responses_request(model)
    try:
        if not streamed:
            return _responses_seen(client.responses.create(**request))
        text, last = "", None
        for event in client.responses.create(**request, stream=True):
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type in ("response.completed", "response.incomplete"):
                last = event.response
            if event.type == "error":
                return Failed(0, event.message)
            if event.type == "response.failed":
                return Failed(0, event.response.error.message)
        if last is None:
            return Failed(0, "the stream had no last event")
        seen = _responses_seen(last)
        assert seen.text == text
        return seen
    except openai.APIError as error:
        return _openai_failed(error)


# Anthropic Messages


def _messages_request(model: str) -> dict[str, Any]:
    case = _case(model)
    content: Any = QUESTION
    request: dict[str, Any] = {"model": model, "max_tokens": 3000, "system": "Be brief."}
    if case == "images":
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        content = [{"type": "text", "text": QUESTION}, {"type": "image", "source": source}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if case in ("tools", "parallel tools", "tool results"):
        request["tools"] = [{"name": TOOL, "description": _DESCRIPTION, "input_schema": PARAMETERS}]
    if case == "tool results":
        uses = [{"type": "tool_use", "id": call.id, "name": TOOL, "input": call.arguments} for call, _ in _RESULTS]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": said} for call, said in _RESULTS]
        messages += [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    if case == "thinking":
        request["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    if case == "JSON schema":
        request["extra_body"] = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    return {**request, "messages": messages}


def ask_messages(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """anthropic's SDK, Messages."""
    return messages_seen(_anthropic_client(url, key, slug), model, streamed)


def messages_seen(
    client: anthropic.Anthropic | anthropic.AnthropicBedrock, model: str, streamed: bool
) -> Seen | Failed:
    """What a client of anthropic's SDK reads."""
    request = _messages_request(model)
    try:
        if streamed:
            with client.messages.stream(**request) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**request)
    except anthropic.APIStatusError as error:
        # An error event of a stream comes with the stream's own status.
        status = 0 if error.status_code == 200 else error.status_code
        return Failed(status, error.message, error.response.headers.get("retry-after"))
    except (anthropic.APIError, httpx.HTTPError) as error:
        return Failed(0, str(error))
    text = "".join(block.text for block in message.content if block.type == "text")
    thinking = "".join(block.thinking for block in message.content if block.type == "thinking")
    calls = tuple((block.name, dict(block.input)) for block in message.content if block.type == "tool_use")
    usage = message.usage
    cached = usage.cache_read_input_tokens or 0
    read = usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0)
    return Seen(text, calls, thinking, stop_of(message.stop_reason), read, usage.output_tokens, cached)


# Gemini


def _gemini_request(model: str) -> dict[str, Any]:
    case = _case(model)
    settings: dict[str, Any] = {"system_instruction": "Be brief.", "max_output_tokens": 3000}
    parts = [types.Part.from_text(text=QUESTION)]
    if case == "images":
        parts.append(types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png"))
    contents = [types.Content(role="user", parts=parts)]
    if case in ("tools", "parallel tools", "tool results"):
        declared = types.FunctionDeclaration(name=TOOL, description=_DESCRIPTION, parameters_json_schema=PARAMETERS)
        settings["tools"] = [types.Tool(function_declarations=[declared])]
    if case == "tool results":
        called = [types.Part.from_function_call(name=TOOL, args=call.arguments) for call, _ in _RESULTS]
        said = [types.Part.from_function_response(name=TOOL, response={"result": said}) for _, said in _RESULTS]
        contents += [types.Content(role="model", parts=called), types.Content(role="user", parts=said)]
    if case == "thinking":
        settings["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    if case == "JSON schema":
        settings |= {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    return {"model": model, "contents": contents, "config": types.GenerateContentConfig(**settings)}


def ask_gemini(url: str, key: str, slug: str, model: str, streamed: bool) -> Seen | Failed:
    """google-genai's SDK."""
    client = _genai_client(url, key, slug)
    request = _gemini_request(model)
    try:
        if streamed:
            answers = list(client.models.generate_content_stream(**request))
        else:
            answers = [client.models.generate_content(**request)]
    except genai_errors.APIError as error:
        headers = getattr(error.response, "headers", None) or {}
        return Failed(error.code, str(error.message), headers.get("retry-after"))
    except Exception as error:
        # A body that breaks off is whatever its HTTP client says of it.
        return Failed(0, str(error))
    text, thinking, calls, stop = "", "", [], None
    for answer in answers:
        for candidate in answer.candidates or ():
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.function_call is not None:
                    calls.append((part.function_call.name or "", dict(part.function_call.args or {})))
                elif part.thought:
                    thinking += part.text or ""
                else:
                    text += part.text or ""
            stop = candidate.finish_reason.value if candidate.finish_reason else stop
    if stop is None:
        return Failed(0, "the stream had no finish reason")
    usage = answers[-1].usage_metadata or types.GenerateContentResponseUsageMetadata()
    # Gemini has no word for an answer that calls tools, but for one that it did not expect.
    told = "tool_calls" if calls and stop in ("STOP", "UNEXPECTED_TOOL_CALL") else stop_of(stop)
    output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    read = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    return Seen(text, tuple(calls), thinking, told, read, output, usage.cached_content_token_count or 0)


CLIENTS: dict[str, Ask] = {
    "OpenAI chat": ask_chat,
    "OpenAI chat, not strict": ask_portkey,
    "OpenAI completions": ask_completions,
    "OpenAI Responses": ask_responses,
    "Anthropic Messages": ask_messages,
    "Gemini": ask_gemini,
}
SDKS: dict[str, str] = {
    "OpenAI chat": "openai",
    "OpenAI chat, not strict": "portkey-ai",
    "OpenAI completions": "openai",
    "OpenAI Responses": "openai",
    "Anthropic Messages": "anthropic",
    "Gemini": "google-genai",
}
