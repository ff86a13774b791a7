"""A field that no codec knows is named wherever it stands: in messages, calls, parts, blocks, tools and formats. So is
one that is known, where it does not belong: a tool call in a message of the user's, a title on a text.

What the official SDKs can send is walked elsewhere; this is for everything else that clients put into requests.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from adapters.errors import InvalidRequest
from adapters.registry import codec
from adapters.types import Call, Dialect, Outbound
from tests.adapters.test_sdk_fields import UPSTREAMS

PNG, PDF = "iVBORw0KGgo=", "JVBERi0="
IMAGE = {"url": f"data:image/png;base64,{PNG}"}
FILE = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
GOOGLES = {
    "type": "OBJECT",
    "properties": {"x": {"type": "STRING"}},
    "required": ["x"],
    "propertyOrdering": ["x"],
}
SOURCE = {"type": "base64", "media_type": "image/png", "data": PNG}
DRAWN = {"type": "image", "source": SOURCE}
SAID = {"type": "text", "text": "ok"}
CALLER = {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "p"}
MARK = {"type": "ephemeral", "ttl": "1h"}
FOUND = {"type": "web_search_result", "url": "https://a.b", "title": "t", "encrypted_content": "e", "page_age": "p"}
PLACE = {"document_index": 0, "document_title": "t", "start_char_index": 0, "end_char_index": 1}
CITED = {"type": "char_location", "cited_text": "c", **PLACE}
NEAR = {"type": "approximate", "city": "c", "country": "DE", "region": "r", "timezone": "Europe/Berlin"}
KEPT = {"type": "tool_uses", "value": 3}
ASKED = {"role": "user", "content": "hi"}
NEARBY = {name: value for name, value in NEAR.items() if name != "type"}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
NAMED: dict[str, Any] = {"type": "function", "name": "f", "parameters": SCHEMA}
CHOICES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([NAMED], {"type": "function", "name": "f"}),
    ([{"type": "custom", "name": "g"}], {"type": "custom", "name": "g"}),
    ([NAMED], {"type": "mcp", "server_label": "l"}),
    ([NAMED], {"type": "file_search"}),
    (
        [NAMED, {"type": "custom", "name": "g"}, {"type": "web_search"}, {"type": "mcp", "server_label": "l"}],
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [
                {"type": "function", "name": "f"},
                {"type": "custom", "name": "g"},
                {"type": "web_search"},
                {"type": "mcp", "server_label": "l"},
            ],
        },
    ),
]
REQUESTS: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "chat": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s"}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        {"type": "image_url", "image_url": IMAGE},
                        {"type": "file", "file": FILE},
                    ],
                },
                {"role": "assistant", "content": "ok", "refusal": None, "tool_calls": [CHAT_CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "r"}]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
                ASKED,
                {
                    "role": "assistant",
                    "content": "ok",
                    "content_blocks": [
                        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                        {"type": "text", "text": "ok"},
                    ],
                },
                ASKED,
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        },
    ),
    "chat with sound": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}
            ]
        },
    ),
    "chat in its first form": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [
                ASKED,
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "r"},
            ],
            "functions": [{"name": "f", "parameters": SCHEMA}],
            "function_call": {"name": "f"},
        },
    ),
    "chat with a search": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [ASKED],
            "tools": [FUNCTION],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "web_search_options": {
                "search_context_size": "low",
                "user_location": {"type": "approximate", "approximate": NEARBY},
            },
            "stream_options": {"include_usage": True, "include_obfuscation": True},
            "prediction": {"type": "content", "content": [{"type": "text", "text": "p"}]},
            "modalities": ["text", "audio"],
            "audio": {"voice": "v", "format": "pcm16"},
            "reasoning": {"effort": "low"},
            "metadata": {"user_id": "u", "k": "v"},
        },
    ),
    "chat with thinking": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [ASKED],
            "tools": [FUNCTION],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            "response_format": {"type": "json_object"},
            "thinking": {"type": "enabled", "budget_tokens": 2000},
        },
    ),
    "chat with free text for tools": (
        Dialect.OPENAI_CHAT,
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "call_1", "type": "custom", "custom": {"name": "g", "input": "i"}}],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "r"},
            ],
            "tools": [{"type": "custom", "custom": {"name": "g", "description": "d", "format": GRAMMAR}}],
            "tool_choice": {"type": "custom", "custom": {"name": "g"}},
        },
    ),
    "messages": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "max_tokens": 5000,
            "system": [{"type": "text", "text": "s"}, {"type": "text", "text": "t", "cache_control": MARK}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        DRAWN,
                        {"type": "document", "source": {**SOURCE, "media_type": "application/pdf"}, "title": "t"},
                        {"type": "search_result", "source": "s", "title": "t", "content": [SAID]},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        SAID,
                        {"type": "tool_use", "id": "call_1", "name": "f", "input": {}, "caller": CALLER},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": [SAID, DRAWN], "is_error": True},
                    ],
                },
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True, "cache_control": MARK}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            "metadata": {"user_id": "u"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
    "messages with thoughts": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "max_tokens": 5000,
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "c2ln"},
                        SAID,
                        {"type": "compaction", "content": "c"},
                    ],
                },
                ASKED,
            ],
            "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        },
    ),
    "messages with sources": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "max_tokens": 5000,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {**DRAWN, "cache_control": MARK},
                        {"type": "document", "source": PLAIN, "context": "c", "citations": {"enabled": True}},
                        {"type": "document", "source": {"type": "content", "content": [SAID, DRAWN]}},
                        {"type": "document", "source": {"type": "content", "content": "c"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "ok", "citations": [CITED]},
                        {"type": "tool_use", "id": "call_1", "name": "f", "input": {}, "cache_control": MARK},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "call_1",
                            "content": [
                                {"type": "document", "source": PLAIN},
                                {"type": "search_result", "source": "s", "title": "t", "content": [SAID]},
                                {"type": "tool_reference", "tool_name": "f"},
                            ],
                            "cache_control": MARK,
                        },
                        {"type": "text", "text": "go", "cache_control": MARK},
                    ],
                },
            ],
            "tools": [{"name": "f", "input_schema": SCHEMA}],
        },
    ),
    "messages with addresses": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "max_tokens": 5000,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}},
                        {"type": "document", "source": {"type": "url", "url": "https://a.b/c.pdf"}, "title": "t"},
                    ],
                },
            ],
        },
    ),
    "messages with tools of Anthropic's": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "max_tokens": 5000,
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]},
                        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "m", "server_name": "s", "input": {}},
                        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [SAID]},
                        SAID,
                    ],
                },
                ASKED,
            ],
            "tools": [
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "user_location": NEAR},
                {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}},
                {"type": "code_execution_20250825", "name": "code_execution", "cache_control": MARK},
                {"type": "computer_20250124", "name": "computer", "display_width_px": 9, "display_height_px": 9},
                {"type": "bash_20250124", "name": "bash"},
                {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
                {"type": "memory_20250818", "name": "memory"},
                {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
                {"name": "f", "input_schema": SCHEMA, "defer_loading": True, "input_examples": [{}], "strict": True},
            ],
            "mcp_servers": [{"type": "url", "name": "s", "url": "https://a.b", "authorization_token": "t"}],
            "container": {"id": "c", "skills": [{"type": "anthropic", "skill_id": "pdf", "version": "latest"}]},
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "keep": KEPT, "trigger": KEPT}]},
        },
    ),
    **{
        f"messages that choose {kind}": (
            Dialect.ANTHROPIC_MESSAGES,
            {
                "max_tokens": 5000,
                "messages": [
                    ASKED,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]},
                ],
                "tools": [{"type": "custom", "name": "f", "input_schema": SCHEMA, "strict": True}],
                "tool_choice": {"type": kind},
                "thinking": {"type": thinking},
            },
        )
        for kind, thinking in {"auto": "adaptive", "any": "disabled", "none": "between_tools"}.items()
    },
    "responses": (
        Dialect.OPENAI_RESPONSES,
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "hi"},
                        {"type": "input_image", "image_url": IMAGE["url"]},
                        {"type": "input_file", **FILE},
                    ],
                },
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "ok"}, {"type": "refusal", "refusal": "no"}],
                },
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "x"},
                {
                    "type": "function_call_output",
                    "call_id": "call_1",
                    "output": [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": IMAGE["url"]}],
                },
                {"type": "custom_tool_call_output", "call_id": "call_2", "output": "y"},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}, {"type": "custom", "name": "g"}],
            "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low"},
        },
    ),
    "responses with tools": (
        Dialect.OPENAI_RESPONSES,
        {
            "input": [ASKED],
            "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA},
                {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "lark", "definition": "s"}},
                {"type": "custom", "name": "h", "format": {"type": "text"}},
                {
                    "type": "web_search",
                    "search_context_size": "low",
                    "user_location": {"type": "approximate", "city": "Praha"},
                    "filters": {"allowed_domains": ["a.cz"]},
                },
                {"type": "file_search", "vector_store_ids": ["v"], "ranking_options": {"ranker": "auto"}},
                {"type": "code_interpreter", "container": {"type": "auto"}},
                {"type": "image_generation", "input_image_mask": {"file_id": "x"}},
                {"type": "mcp", "server_label": "l", "allowed_tools": {"tool_names": ["t"]}},
                {"type": "computer"},
                {"type": "local_shell"},
                {"type": "apply_patch"},
                {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "k", "parameters": SCHEMA}]},
            ],
            "text": {"format": {"type": "text"}},
            "context_management": [{"type": "compaction", "compact_threshold": 9}],
            "stream_options": {"include_obfuscation": True},
            "reasoning": {"effort": "low", "summary": "concise"},
        },
    ),
    **{
        f"responses with a choice: {choice['type']}": (
            Dialect.OPENAI_RESPONSES,
            {"input": [ASKED], "tools": tools, "tool_choice": choice, "text": {"format": {"type": "json_object"}}},
        )
        for tools, choice in CHOICES
    },
    "responses with a long history": (
        Dialect.OPENAI_RESPONSES,
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}],
                },
                {
                    "type": "web_search_call",
                    "id": "ws_1",
                    "status": "completed",
                    "action": {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://a.cz"}]},
                },
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "s"}],
                    "content": [{"type": "reasoning_text", "text": "t"}],
                },
                {"type": "compaction", "encrypted_content": "gAAA"},
                {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}", "server_label": "l"},
                {"type": "item_reference", "id": "rs_1"},
                {
                    "role": "assistant",
                    "phase": "commentary",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "ok",
                            "annotations": [{"type": "url_citation", "url": "u", "title": "t"}],
                        }
                    ],
                },
                {
                    "type": "function_call",
                    "call_id": "call_1",
                    "name": "f",
                    "arguments": "{}",
                    "namespace": "n",
                    "caller": {"type": "program", "caller_id": "p"},
                },
                {
                    "type": "function_call_output",
                    "call_id": "call_1",
                    "output": [{"type": "input_text", "text": "r"}, {"type": "input_file", **FILE}],
                },
                {"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            ],
        },
    ),
    "responses with sound": (
        Dialect.OPENAI_RESPONSES,
        {
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
                }
            ]
        },
    ),
    "gemini": (
        Dialect.GEMINI_GENERATE,
        {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "ok"},
                        {"functionCall": {"id": "call_1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
                    ],
                },
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"id": "call_1", "name": "f", "response": {"output": "r"}}}],
                },
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "generationConfig": {
                "thinkingConfig": {"thinkingLevel": "low"},
                "responseMimeType": "application/json",
                "responseJsonSchema": SCHEMA,
            },
        },
    ),
    "gemini with what is Google's own": (
        Dialect.GEMINI_GENERATE,
        {
            "systemInstruction": "s",
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"fileData": {"mimeType": "image/png", "fileUri": "https://a/b.png"}},
                        {
                            "fileData": {"mimeType": "video/mp4", "fileUri": "https://a/b.mp4"},
                            "videoMetadata": {"startOffset": "1s"},
                            "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                        },
                        {"toolResponse": {"id": "1", "toolType": "GOOGLE_MAPS", "response": {}}},
                    ],
                },
                {
                    "role": "model",
                    "parts": [
                        {"executableCode": {"id": "1", "language": "PYTHON", "code": "1"}},
                        {"codeExecutionResult": {"id": "1", "outcome": "OUTCOME_OK", "output": "1"}},
                        {"toolCall": {"id": "1", "toolType": "GOOGLE_MAPS", "args": {}}},
                        {"functionCall": {"name": "f", "args": {}, "partialArgs": [{"jsonPath": "$.x"}]}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": "f",
                                "response": {"error": "e"},
                                "scheduling": "SILENT",
                                "willContinue": True,
                                "parts": [
                                    {"inlineData": {"mimeType": "image/png", "data": PNG}},
                                    {"fileData": {"mimeType": "image/png", "fileUri": "https://a/b.png"}},
                                ],
                            }
                        }
                    ],
                },
            ],
            "tools": [
                {
                    "functionDeclarations": [{"name": "f", "behavior": "BLOCKING", "parameters": GOOGLES}],
                    "googleSearch": {
                        "timeRangeFilter": {"startTime": "s"},
                        "searchTypes": {"webSearch": {}},
                        "excludeDomains": ["a"],
                    },
                    "googleSearchRetrieval": {"dynamicRetrievalConfig": {"dynamicThreshold": 0.3}},
                    "googleMaps": {"enableWidget": True},
                    "urlContext": {},
                    "codeExecution": {},
                    "fileSearch": {"fileSearchStoreNames": ["a"], "metadataFilter": "b"},
                    "computerUse": {"environment": "ENVIRONMENT_BROWSER"},
                    "mcpServers": [{"name": "m", "streamableHttpTransport": {"url": "https://a"}}],
                },
            ],
            "toolConfig": {
                "functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]},
                "retrievalConfig": {"latLng": {"latitude": 1.5, "longitude": 2.5}, "languageCode": "en"},
            },
            "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
            "generationConfig": {
                "thinkingConfig": {"thinkingBudget": 9000},
                "speechConfig": {
                    "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "v"}},
                    "multiSpeakerVoiceConfig": {"speakerVoiceConfigs": [{"speaker": "s", "voiceConfig": {}}]},
                },
                "imageConfig": {"aspectRatio": "1:1", "imageOutputOptions": {"mimeType": "image/png"}},
                "responseMimeType": "application/json",
                "responseSchema": GOOGLES,
                "mediaResolution": "MEDIA_RESOLUTION_LOW",
                "enableEnhancedCivicAnswers": True,
            },
            "labels": {"a": "b"},
        },
    ),
}  # fmt: skip
OPAQUE = frozenset(
    (
        "schema",
        "parameters",
        "input_schema",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "args",
        "input",
        "response",
    )
)
"""Fields whose objects cross whole."""
STRANGER = "Mark99999"


def objects(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict):
        if path:
            yield path
        for name, value in node.items():
            if not (name in OPAQUE and isinstance(value, dict)):
                yield from objects(value, (*path, name))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from objects(value, (*path, at))


def is_named(body: Any, path: tuple[Any, ...], names: tuple[str, ...]) -> bool:
    """Whether a thing, or what it is a part of, is among the names already: each is told once, things of one type by
    that, and a field of blocks and a mark of caching alike wherever they stand."""
    name, place = "", body
    for step in path:
        place = place[step] if isinstance(step, int) else place.get(step)
        name += "[]" if isinstance(step, int) else f"{'.' * bool(name)}{step}"
        if name in names or (isinstance(place, dict) and f"{name}.{place.get('type')}" in names):
            return True
    return path[-1] in names or any(f"{within}[].content[].{path[-1]}" in names for within in ("messages", "input"))


def fit(client: Dialect, upstream: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """The request without what the upstream refuses aloud."""
    if upstream is not Dialect.COHERE_CHAT:
        return body
    body = copy.deepcopy(body)
    for message in body.get("messages") or body.get("input") or ():
        if isinstance(message.get("content"), list):
            documents = ("file", "document", "input_file")
            message["content"] = [part for part in message["content"] if part["type"] not in documents]
    return body


def sent(client: Dialect, upstream: Dialect, model: str, body: dict[str, Any]) -> Outbound | None:
    text = msgspec.json.encode({"model": model, **body})
    try:
        return codec(client, upstream).request(Call(client, model, False, text, "id", 0, strict=False))
    except InvalidRequest:
        return None


@pytest.mark.parametrize("name", REQUESTS)
def test_a_field_that_nobody_knows_is_named_wherever_it_stands(name: str) -> None:
    client, whole = REQUESTS[name]
    lost: dict[str, list[str]] = {}
    reached = 0
    for upstream, model in UPSTREAMS.values():
        body = fit(client, upstream, whole)
        usual = sent(client, upstream, model, body)
        if upstream is client or usual is None:
            continue
        reached += 1
        for path in objects(body):
            more = copy.deepcopy(body)
            place = more
            for step in path:
                place = place[step]
            place["unheard_of"] = STRANGER
            out = sent(client, upstream, model, more)
            assert out is not None, path
            named = is_named(body, path, usual.dropped) or set(out.dropped) - set(usual.dropped)
            if STRANGER.encode() not in out.body and not named:
                lost.setdefault(".".join(map(str, path)), []).append(model)
    assert lost == {}
    assert reached > 1


KINDS = frozenset(("type", "role"))
WORDS = KINDS | {"media_type", "mimeType", "format", "effort", "mode", "thinkingLevel", "verbosity", "status", "data"}
WORDS |= {"ttl"}
"""Fields whose values are words of a list, or must be of some form."""
LABELS = {Dialect.OPENAI_RESPONSES: ("id", "status")}
"""Fields of stored items, which no model is shown wherever they stand."""


def known(client: Dialect) -> dict[str, Any]:
    """Every field that the objects in a dialect's requests have, with a value of it that can be found again."""
    fields: dict[str, Any] = {}
    for _, body in (each for each in REQUESTS.values() if each[0] is client):
        for path in objects(body):
            place: Any = body
            for step in path:
                place = place[step]
            for name, value in place.items():
                if name not in KINDS and value and name not in LABELS.get(client, ()):
                    fields.setdefault(name, marked(value, name))
    return fields


def marked(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {name: marked(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [marked(each, name) for each in value]
    form = not isinstance(value, str) or name in WORDS or value.startswith(("data:", "{"))
    return value if form else STRANGER


@pytest.mark.parametrize("name", REQUESTS)
def test_a_field_that_stands_where_it_does_not_belong_is_named(name: str) -> None:
    client, whole = REQUESTS[name]
    fields, mark = known(client), STRANGER.encode()
    found_again = {name for name, value in fields.items() if mark in msgspec.json.encode(value)}
    lost: dict[str, list[str]] = {}
    for upstream, model in UPSTREAMS.values():
        body = fit(client, upstream, whole)
        usual = sent(client, upstream, model, body)
        if upstream is client or usual is None:
            continue
        for path in objects(body):
            if is_named(body, path, usual.dropped):
                continue
            more = copy.deepcopy(body)
            place = more
            for step in path:
                place = place[step]
            for borrowed in fields.keys() - place.keys():
                if is_named(body, (*path, borrowed), usual.dropped):
                    continue
                place[borrowed] = fields[borrowed]
                out = sent(client, upstream, model, more)
                del place[borrowed]
                named = re.sub(r"\.\d+", "[]", ".".join(map(str, (*path, borrowed))))
                if out is None or set(out.dropped) - set(usual.dropped) or named in usual.dropped:
                    continue
                if mark not in out.body if borrowed in found_again else out.body == usual.body:
                    lost.setdefault(".".join(map(str, (*path, borrowed))), []).append(model)
    assert lost == {}


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (
            {**CHAT_CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}},
            "messages[].tool_calls[].extra_content",
        ),
        (
            {**CHAT_CALL, "function": {**CHAT_CALL["function"], "thought_signature": "c2ln"}},  # type: ignore[dict-item]
            "messages[].tool_calls[].function.thought_signature",
        ),
        ({**CHAT_CALL, "index": 0, "extra_content": None}, None),
    ],
)
def test_a_signature_that_only_gemini_can_check_is_named_elsewhere(message: dict[str, Any], named: str | None) -> None:
    body = {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [message]}]}
    for upstream, model in UPSTREAMS.values():
        if upstream is Dialect.OPENAI_CHAT:
            continue
        out = sent(Dialect.OPENAI_CHAT, upstream, model, body)
        assert out is not None
        if upstream is Dialect.GEMINI_GENERATE:
            assert out.dropped == ()
            assert (b"c2ln" in out.body) == (named is not None)
        else:
            assert out.dropped == ((named,) if named else ())


def snake(node: Any) -> Any:
    if isinstance(node, list):
        return [snake(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value if name in OPAQUE else snake(value)
        for name, value in node.items()
    }


@pytest.mark.parametrize("name", [name for name in REQUESTS if name.startswith("gemini")])
def test_google_s_other_spelling_says_the_same(name: str) -> None:
    client, body = REQUESTS[name]
    for upstream, model in UPSTREAMS.values():
        if upstream is not client:
            assert sent(client, upstream, model, snake(body)) == sent(client, upstream, model, body)


@pytest.mark.parametrize("closed", [False, True])
def test_a_strict_tool_is_held_to_its_schema_where_its_provider_takes_it_so(closed: bool) -> None:
    schema = SCHEMA if closed else {"type": "object", "properties": {"x": {"type": "string"}}}
    body = {"max_tokens": 9, "messages": [ASKED], "tools": [{"name": "f", "input_schema": schema, "strict": True}]}
    for word, (upstream, model) in UPSTREAMS.items():
        if word != "claude":
            out = sent(Dialect.ANTHROPIC_MESSAGES, upstream, model, body)
            assert out is not None
            kept = word != "nova" and (closed or word not in ("chat", "cohere", "mistral", "responses"))
            asked = b'"VALIDATED"' if word == "gemini" else b'_tools":true' if word == "cohere" else b'"strict":true'
            assert (out.dropped, asked in out.body) == (() if kept else ("tools[].strict",), kept), word


def test_what_describes_any_json_at_all_is_named() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "description": "a list of ports"}}
    for upstream, model in UPSTREAMS.values():
        if upstream not in (Dialect.OPENAI_CHAT, Dialect.MISTRAL_CHAT):
            out = sent(Dialect.OPENAI_CHAT, upstream, model, {"messages": [ASKED], "response_format": wanted})
            assert out is not None
            assert "response_format.json_schema.description" in out.dropped


def test_what_an_sdk_parsed_for_its_client_is_no_loss_when_it_comes_back() -> None:
    parsed = {"x": STRANGER}
    called = {**CHAT_CALL, "function": {"name": "f", "arguments": "{}", "parsed_arguments": parsed}}
    blocks = [{"type": "text", "text": "{}", "index": 0}]
    said = {"role": "assistant", "content": "{}", "content_blocks": blocks, "parsed": parsed, "tool_calls": [called]}
    body = {"messages": [ASKED, said, {"role": "tool", "tool_call_id": "call_1", "content": "r"}]}
    for upstream, model in UPSTREAMS.values():
        if upstream is not Dialect.OPENAI_CHAT:
            out = sent(Dialect.OPENAI_CHAT, upstream, model, body)
            assert out is not None
            assert (out.dropped, STRANGER.encode() in out.body) == ((), False), model


EMBEDS, COMPLETES = Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_COMPLETIONS
EVERYWHERE = (
    Dialect.COHERE_EMBED,
    Dialect.GEMINI_BATCH_EMBED,
    Dialect.VERTEX_PREDICT,
    Dialect.BEDROCK_TITAN_EMBEDDINGS,
    Dialect.BEDROCK_COHERE_EMBEDDINGS,
)
PIXEL = {"base64": PNG}
SMALLER: list[tuple[Dialect, dict[str, Any], tuple[Dialect, ...]]] = [
    (EMBEDS, {"input": ["a", {"text": "b"}], "dimensions": 8}, (*EVERYWHERE, Dialect.NOMIC_EMBED)),
    (EMBEDS, {"input": [{"image": PIXEL}]}, EVERYWHERE),
    (
        Dialect.RERANK,
        {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1},
        (Dialect.COHERE_RERANK, Dialect.VOYAGE_RERANK),
    ),
    (
        COMPLETES,
        {"prompt": "hi", "stream_options": {"include_usage": True}},
        (Dialect.ANTHROPIC_COMPLETE, Dialect.MISTRAL_FIM),
    ),
]


@pytest.mark.parametrize(("client", "body", "upstreams"), SMALLER)
def test_what_is_embedded_ranked_or_completed_has_no_strangers_either(
    client: Dialect, body: dict[str, Any], upstreams: tuple[Dialect, ...]
) -> None:
    for upstream in upstreams:
        usual = sent(client, upstream, "m", body)
        assert usual is not None
        assert usual.dropped == ()
        for path in ((), *objects(body)):
            more = copy.deepcopy(body)
            place = more
            for step in path:
                place = place[step]
            place["unheard_of"] = STRANGER
            out = sent(client, upstream, "m", more)
            assert out is not None
            named = re.sub(r"\.\d+", "[]", ".".join(map(str, (*path, "unheard_of"))))
            assert out.dropped == (named,)


@pytest.mark.parametrize(
    ("client", "body", "upstreams", "named"),
    [
        (EMBEDS, {"input": "a", "embedding_types": ["int8"]}, EVERYWHERE, "embedding_types"),
        (
            EMBEDS,
            {"input": [{"image": {**PIXEL, "url": "data:image/png;base64,AA"}}]},
            EVERYWHERE,
            "input[].image.base64",
        ),
        (
            EMBEDS,
            {"input": [{"image": PIXEL}], "input_type": "search_query"},
            (Dialect.BEDROCK_COHERE_EMBEDDINGS,),
            "input_type",
        ),
        (EMBEDS, {"input": [{"image": PIXEL}], "task_type": "t"}, (Dialect.VERTEX_PREDICT,), "task_type"),
        (EMBEDS, {"input": [{"image": PIXEL, "text": "a"}]}, (Dialect.VERTEX_PREDICT, Dialect.NOMIC_EMBED), None),
        (
            EMBEDS,
            {"input": "a", "task_type": "a", "taskType": "b"},
            (Dialect.VERTEX_PREDICT, Dialect.GEMINI_BATCH_EMBED),
            None,
        ),
        (
            Dialect.RERANK,
            {"query": "q", "documents": ["a"], "top_n": 1, "top_k": 2},
            (Dialect.VOYAGE_RERANK, Dialect.COHERE_RERANK),
            "top_k",
        ),
        (COMPLETES, {"prompt": "a", "messages": [ASKED]}, tuple({each for each, _ in UPSTREAMS.values()}), "messages"),
        (COMPLETES, {"prompt": "a", "seed": 1, "random_seed": 2}, (Dialect.MISTRAL_FIM,), "random_seed"),
    ],
)
def test_of_two_things_that_cannot_both_be_said_one_is_named(
    client: Dialect, body: dict[str, Any], upstreams: tuple[Dialect, ...], named: str | None
) -> None:
    for upstream in upstreams:
        out = sent(client, upstream, "m", body)
        assert (None if out is None else out.dropped) == (None if named is None else (named,)), upstream
