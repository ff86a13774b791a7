from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from adapters.errors import InvalidRequest
from adapters.gemini_client import GENERATE_TO_CHAT
from adapters.packing import pack
from adapters.types import Call, Dialect, Outbound


def call(body: Any, *, blocks: bool = False, stream: bool = False) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(Dialect.GEMINI_GENERATE, "m", stream, raw, "f" * 32, 1, blocks=blocks)


def outbound(blocks: bool = False, stream: bool = False, **fields: Any) -> Outbound:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], **fields}
    return GENERATE_TO_CHAT.request(call(body, blocks=blocks, stream=stream))


def chat(blocks: bool = False, stream: bool = False, **fields: Any) -> Any:
    return json.loads(outbound(blocks, stream, **fields).body)


def messages(*contents: dict[str, Any], blocks: bool = False) -> Any:
    return chat(blocks, contents=list(contents))["messages"]


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def test_a_plain_question_is_one_message() -> None:
    assert chat() == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert chat(contents=[{"parts": [{"text": "Hi"}]}])["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_stream_asks_for_usage() -> None:
    sent = chat(stream=True)
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}


def test_the_system_instruction_comes_first() -> None:
    for given in ({"parts": [{"text": "a"}, {"text": "b"}]}, "a\nb"):
        assert chat(systemInstruction=given)["messages"][0] == {"role": "system", "content": "a\nb"}


def test_both_spellings_are_read_and_data_keeps_its_names() -> None:
    sent = chat(
        system_instruction={"parts": [{"text": "s"}]},
        contents=[
            model({"function_call": {"name": "f", "args": {"snake_case": 1}}, "thought_signature": "x"}),
            user({"function_response": {"name": "f", "response": {"output_text": "a"}}}),
            user({"inline_data": {"mime_type": "image/png", "data": "AAAA"}}),
        ],
        generation_config={"max_output_tokens": 5, "stop_sequences": ["a"]},
        tools=[{"function_declarations": [{"name": "f", "parameters_json_schema": {"properties": {"a_b": {}}}}]}],
    )
    assert sent["messages"][0]["content"] == "s"
    assert json.loads(sent["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"snake_case": 1}
    assert json.loads(sent["messages"][2]["content"]) == {"output_text": "a"}
    assert sent["messages"][3]["content"][0]["image_url"] == {"url": "data:image/png;base64,AAAA"}
    assert (sent["max_completion_tokens"], sent["stop"]) == (5, ["a"])
    assert sent["tools"][0]["function"]["parameters"] == {"properties": {"a_b": {}}}


def test_text_keeps_its_json() -> None:
    raw = rb'{"contents":[{"parts":[{"text":"caf\u00e9 \"snake_case\": \ud83d\ude00"}]}]}'
    assert rb'"caf\u00e9 \"snake_case\": \ud83d\ude00"' in GENERATE_TO_CHAT.request(call(raw)).body


PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an image": (
        # Google's SDKs write base64 for addresses.
        {"inlineData": {"mimeType": "image/png", "data": "A-_A"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,A+/A"}},
    ),
    "a sound": (
        {"inlineData": {"mimeType": "audio/wav", "data": "A-_A"}},  # as google-genai writes it
        {"type": "input_audio", "input_audio": {"data": "A+/A", "format": "wav"}},
    ),
    "a text": (
        {"inlineData": {"mimeType": "text/plain", "data": "xb5sdcWlLCDEjWF1ISB-", "displayName": "a.txt"}},
        {"type": "text", "text": "a.txt\nžluť, čau! ~"},
    ),
    "a document": (
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ),
    "an image elsewhere": (
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a"}},
    ),
    "a file elsewhere": (
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a"}},
        {"type": "file", "file": {"file_url": "https://x.test/a", "mime_type": "application/pdf"}},
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_every_kind_cross(name: str) -> None:
    given, wanted = PARTS[name]
    assert messages(user({"text": "see"}, given))[0]["content"] == [{"type": "text", "text": "see"}, wanted]


def test_calls_without_ids_find_their_results_by_name_in_order() -> None:
    made = messages(
        model({"functionCall": {"name": "f", "args": {"x": 1}}}, {"functionCall": {"name": "f"}}),
        user(
            {"functionResponse": {"name": "f", "response": {"output": "one"}}},
            {"functionResponse": {"name": "f", "response": {"result": {"a": 1}}}},
            {"text": "Go on."},
        ),
    )
    first, second = (each["id"] for each in made[0]["tool_calls"])
    assert first != second
    assert made[0]["content"] is None
    around = messages(model({"text": "a"}, {"text": "b"}, {"functionCall": {"name": "f"}}, {"text": "c"}))
    assert around[0]["content"] == "ab\n\nc"
    assert made[1:] == [
        {"role": "tool", "tool_call_id": first, "content": "one"},
        {"role": "tool", "tool_call_id": second, "content": '{"a": 1}'},
        {"role": "user", "content": "Go on."},
    ]


def test_what_is_null_beside_a_part_s_data_is_not_there() -> None:
    part, made = PARTS["an image"]
    assert messages(user({"text": None, **part}))[0]["content"] == [made]
    assert chat(system_instruction=None, systemInstruction="s")["messages"][0]["content"] == "s"


def test_a_choice_of_functions_without_any_is_named() -> None:
    for config in ({"mode": "ANY"}, {"allowedFunctionNames": ["f"]}):
        assert outbound(toolConfig={"functionCallingConfig": config}).dropped == ("toolConfig.functionCallingConfig",)
    assert outbound(toolConfig={"functionCallingConfig": {"mode": "NONE"}}).dropped == ()


def test_ids_of_the_clients_are_kept() -> None:
    made = messages(
        model({"functionCall": {"id": "a", "name": "f"}}, {"functionCall": {"id": "b", "name": "f"}}),
        user({"functionResponse": {"id": "b", "name": "f", "response": {"x": 1}}}),
    )
    assert [each["id"] for each in made[0]["tool_calls"]] == ["a", "b"]
    assert made[1] == {"role": "tool", "tool_call_id": "b", "content": '{"x": 1}'}


def test_a_failure_is_told_as_one() -> None:
    said = (
        model({"functionCall": {"name": "f"}}),
        user({"functionResponse": {"name": "f", "response": {"error": "no"}}}),
    )
    assert messages(*said)[1]["content"] == "Error: no"
    assert messages(*said, blocks=True)[1] == {
        "role": "tool",
        "tool_call_id": "call_0_f",
        "content": "no",
        "is_error": True,
    }


def test_a_picture_in_a_result_reaches_those_who_can_show_it() -> None:
    result = {"name": "f", "response": {"output": "see"}, "parts": [PARTS["an image"][0]]}
    said = (model({"functionCall": {"name": "f"}}), user({"functionResponse": result}))
    assert messages(*said, blocks=True)[1]["content"] == [{"type": "text", "text": "see"}, PARTS["an image"][1]]
    assert outbound(contents=list(said)).dropped == ("contents[].parts[].functionResponse.parts",)


# -- thoughts


def test_googles_signatures_go_on_to_google() -> None:
    made = messages(
        model(
            {"text": "Hm", "thought": True},
            {"text": "So.", "thoughtSignature": "s1"},
            {"functionCall": {"name": "f"}, "thoughtSignature": "s2"},
        ),
        blocks=True,
    )[0]
    assert made["content"] == "So."
    assert made["content_blocks"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "google:s1"},
        {"type": "text", "text": "So."},
    ]
    assert made["tool_calls"][0]["function"]["thought_signature"] == "s2"


def test_other_makers_thoughts_come_out_of_a_signature_whole() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
    packed = base64.urlsafe_b64encode(pack([thought]).encode()).decode().rstrip("=")
    made = messages(model({"functionCall": {"name": "f"}, "thoughtSignature": packed}), blocks=True)[0]
    assert made["content_blocks"] == [thought]
    assert "thought_signature" not in made["tool_calls"][0]["function"]


def test_openai_gets_no_thoughts_and_they_are_named() -> None:
    sent = outbound(contents=[model({"text": "Hm", "thought": True}, {"text": "a", "thoughtSignature": "s"})])
    assert json.loads(sent.body)["messages"] == [{"role": "assistant", "content": "a"}]
    assert set(sent.dropped) == {"contents[].parts[].thought", "contents[].parts[].thoughtSignature"}


# -- tools and parameters

SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "city": {"type": "STRING", "nullable": True},
        "kind": {"type": "STRING", "format": "enum", "enum": ["a", "b"]},
        "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"},
        "type": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True},
    },
    "required": ["city"],
    "propertyOrdering": ["city", "kind"],
}


def test_googles_own_schemas_become_json_schemas() -> None:
    sent = chat(tools=[{"functionDeclarations": [{"name": "f", "description": "d", "parameters": SCHEMA}]}])
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": ["string", "null"]},
                        "kind": {"type": "string", "enum": ["a", "b"]},
                        "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                        "type": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
                    },
                    "required": ["city"],
                },
            },
        }
    ]


TWO = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
CHOICES: dict[str, tuple[dict[str, Any], Any, list[str]]] = {
    "auto": ({"mode": "AUTO"}, None, ["f", "g"]),
    "none": ({"mode": "NONE"}, "none", ["f", "g"]),
    "any": ({"mode": "ANY"}, "required", ["f", "g"]),
    "one": (
        {"mode": "ANY", "allowedFunctionNames": ["g"]},
        {"type": "function", "function": {"name": "g"}},
        ["g"],
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_tool_choices_cross(name: str) -> None:
    given, wanted, names = CHOICES[name]
    sent = chat(tools=TWO, toolConfig={"functionCallingConfig": given})
    assert sent.get("tool_choice") == wanted
    assert [each["function"]["name"] for each in sent["tools"]] == names


def test_parameters_cross() -> None:
    given = {
        "temperature": 0.5, "topP": 0.9, "maxOutputTokens": 7, "stopSequences": ["a"], "candidateCount": 2, "seed": 3,
        "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 4,
        "responseModalities": ["TEXT"], "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"},
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
    }  # fmt: skip
    sent = chat(generationConfig=given)
    for gone in ("model", "messages"):
        del sent[gone]
    assert sent == {
        "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 7, "stop": ["a"], "n": 2, "seed": 3,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "logprobs": True, "top_logprobs": 4,
        "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
    }  # fmt: skip


@pytest.mark.parametrize(("budget", "effort"), [(-1, None), (500, "low"), (8192, "medium"), (20_000, "high")])
def test_thinking_budgets_are_efforts(budget: int, effort: str | None) -> None:
    sent = chat(generationConfig={"thinkingConfig": {"thinkingBudget": budget}})
    assert sent.get("reasoning_effort") == effort


def test_what_cannot_survive_is_named() -> None:
    sent = outbound(
        safetySettings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
        labels={"a": "b"},
        tools=[{"googleSearch": {}}],
        generationConfig={"topK": 5, "speechConfig": {}},
        toolConfig={"retrievalConfig": {}},
    )
    assert set(sent.dropped) == {
        *("safetySettings", "labels", "tools[].googleSearch", "generationConfig.topK", "generationConfig.speechConfig"),
        "toolConfig.retrievalConfig",
    }
    assert chat(blocks=True, generationConfig={"topK": 5})["top_k"] == 5


REFUSED: dict[str, tuple[Any, str | None]] = {
    "nothing": ({}, "contents"),
    "a role": ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role"),
    "a text": ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
    "a call of the user": ({"contents": [user({"functionCall": {"name": "f"}})]}, "contents[0].parts[0].functionCall"),
    "a stray result": (
        {"contents": [user({"functionResponse": {"name": "f", "response": {}}})]},
        "contents[0].parts[0].functionResponse.name",
    ),
    "a number": ({"contents": [user({"text": "a"})], "generationConfig": {"seed": "x"}}, "generationConfig.seed"),
    "cached content": ({"contents": [user({"text": "a"})], "cachedContent": "x"}, "cachedContent"),
    "a mode": ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
    "parameters": (
        {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": True}]}]},
        "tools[0].functionDeclarations[0].parametersJsonSchema",
    ),
    "one field in two spellings": ({"tool_config": {}, "toolConfig": {"a": 1}}, "toolConfig"),
    "a list": (b"[]", None),
    "depth": (b'{"contents":' + b"[" * 5000, None),
    "broken text": (b'{"contents":[{"parts":[{"text":"\xff"}]}]}', None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_with_its_path(name: str) -> None:
    body, param = REFUSED[name]
    with pytest.raises(InvalidRequest) as caught:
        GENERATE_TO_CHAT.request(call(body))
    assert caught.value.param == param
