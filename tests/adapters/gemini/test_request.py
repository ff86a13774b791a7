from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters.gemini import CHAT_TO_GEMINI
from tests.adapters.gemini.script import (
    NEW,
    assistant,
    call,
    config,
    contents,
    outbound,
    refusal,
    tool,
    tool_call,
    translated,
    user,
)

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "Says it.", "parameters": WEATHER}}


def test_a_plain_question_is_one_content() -> None:
    assert translated() == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_neither_model_nor_stream_are_in_the_body() -> None:
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": [user()]}
    assert json.loads(CHAT_TO_GEMINI.request(call(body, stream=True)).body).keys() == {"contents"}


def test_every_system_message_is_an_instruction_in_order() -> None:
    messages = [
        {"role": "system", "content": "One."},
        user(),
        {"role": "developer", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": "Three."}]},
    ]
    sent = translated(messages=messages)
    assert sent["systemInstruction"] == {"parts": [{"text": "One."}, {"text": "Two."}, {"text": "Three."}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_a_system_message_alone_is_answered_too() -> None:
    assert contents({"role": "system", "content": "Be."}) == [{"role": "user", "parts": [{"text": ""}]}]


def test_who_says_nothing_has_no_turn_on_vertex_ai() -> None:
    said = [user("a"), {"role": "assistant", "content": ""}, user(""), user("b")]
    vertex = msgspec.structs.replace(call(messages=said), file_names=True)
    made = [json.loads(CHAT_TO_GEMINI.request(each).body)["contents"] for each in (vertex, call(messages=said))]
    assert made[0] == [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]
    assert [each["role"] for each in made[1]] == ["user", "model", "user"]


def test_neighbours_of_one_role_are_one_content() -> None:
    found = contents(user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"})
    assert [(each["role"], [part["text"] for part in each["parts"]]) for each in found] == [
        ("user", ["a", "b"]),
        ("model", ["c", "d"]),
    ]


def test_text_keeps_its_json() -> None:
    raw = rb'{"messages":[{"role":"user","content":"caf\u00e9 \ud83d\ude00 \"q\""}]}'
    assert rb'"caf\u00e9 \ud83d\ude00 \"q\""' in CHAT_TO_GEMINI.request(call(raw)).body


PARTS = {
    "data image": (
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}},
    ),
    "web image": (
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png?v=1"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png?v=1"}},
    ),
    "bucket image without an ending": (
        {"type": "image_url", "image_url": "gs://bucket/photo"},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/photo"}},
    ),
    "typed image": (
        {"type": "image_url", "image_url": {"url": "gs://b/a", "mime_type": "image/webp"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "gs://b/a"}},
    ),
    "video": (
        {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=x"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=x"}},
    ),
    "audio": (
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
    ),
    "pdf": (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
    ),
    "bare data": (
        {"type": "file", "file": {"filename": "a.csv", "file_data": "AAAA"}},
        {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
    ),
    "file by address": (
        {"type": "file", "file": {"file_url": "https://x.test/doc"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/doc"}},
    ),
    "uploaded file": (
        {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
    ),
    "Gemini's own part": (
        {"type": "gemini_part", "part": {"executableCode": {"code": "1"}}},
        {"executableCode": {"code": "1"}},
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_every_kind_cross(name: str) -> None:
    given, wanted = PARTS[name]
    assert contents(user([given]))[0]["parts"] == [wanted]


def test_parallel_calls_and_their_results_keep_ids_and_names() -> None:
    found = contents(
        user(),
        assistant(tool_call("a", "f", '{"x": 1.50}'), tool_call("b", "g", "")),
        tool("b", "two"),
        tool("a", "one"),
    )
    assert found[1]["parts"] == [
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1.5}}},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ]
    assert found[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "b", "name": "g", "response": {"output": "two"}}},
            {"functionResponse": {"id": "a", "name": "f", "response": {"output": "one"}}},
        ],
    }


def test_a_failed_tool_says_so() -> None:
    found = contents(assistant(tool_call("a")), tool("a", "boom", is_error=True))
    assert found[1]["parts"][0]["functionResponse"]["response"] == {"error": "boom"}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
INLINE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}


def test_an_image_in_a_result_stays_in_it_where_the_model_takes_it() -> None:
    said = [assistant(tool_call("a")), tool("a", [{"type": "text", "text": "see"}, IMAGE])]
    inside = contents(*said, model=NEW)[1]["parts"]
    assert inside == [{"functionResponse": {"id": "a", "name": "f", "response": {"output": "see"}, "parts": [INLINE]}}]
    beside = contents(*said)[1]["parts"]
    assert beside[1:] == [{"text": "Content of the result of f:"}, INLINE]


def test_a_result_of_an_unknown_call_is_refused_by_its_path() -> None:
    assert refusal(messages=[user(), tool("nobody")]).param == "messages[1].tool_call_id"


def test_legacy_functions_cross() -> None:
    sent = translated(
        messages=[
            user(),
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "ok"},
        ],
        functions=[{"name": "f", "parameters": WEATHER}],
        function_call={"name": "f"},
    )
    assert sent["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]
    assert sent["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "ok"}}}]
    assert sent["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["f"]}


# -- thoughts and their signatures


def blocks(*made: dict[str, Any]) -> dict[str, Any]:
    return {"content_blocks": list(made)}


def test_a_calls_own_signature_goes_back_with_it() -> None:
    for given in (
        tool_call("a", thought_signature="sig=="),
        {**tool_call("a"), "extra_content": {"google": {"thought_signature": "sig=="}}},
    ):
        assert contents(assistant(given), model=NEW)[0]["parts"][0]["thoughtSignature"] == "sig=="


def test_signatures_of_thinking_blocks_go_back_to_the_part_they_came_with() -> None:
    said = assistant(
        tool_call("a"),
        content="Text.",
        **blocks(
            {"type": "thinking", "thinking": "Hm", "signature": "google:s1"},
            {"type": "text", "text": "Text."},
            {"type": "thinking", "thinking": "", "signature": "google:s2"},
        ),
    )
    assert contents(said, model=NEW)[0]["parts"] == [
        {"text": "Hm", "thought": True},
        {"text": "Text.", "thoughtSignature": "s1"},
        {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "s2"},
    ]


def test_a_signature_after_everything_comes_in_an_empty_part() -> None:
    said = {
        "role": "assistant",
        "content": "T",
        **blocks({"type": "text", "text": "T"}, {"type": "thinking", "thinking": "", "signature": "google:s"}),
    }
    assert contents(said)[0]["parts"] == [{"text": "T"}, {"text": "", "thoughtSignature": "s"}]


def test_thoughts_of_other_makers_are_left_out_and_named() -> None:
    said = assistant(content="T", **blocks({"type": "thinking", "thinking": "Hm", "signature": "anthropics"}))
    sent = outbound(messages=[user(), said])
    assert json.loads(sent.body)["contents"][1]["parts"] == [{"text": "T"}]
    assert sent.dropped == ("messages[].content_blocks[].thinking",)


def test_newer_models_get_a_placeholder_for_a_signature_that_another_model_never_gave() -> None:
    parts = contents(assistant(tool_call("a"), tool_call("b")), model=NEW)[0]["parts"]
    assert parts[0]["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in parts[1]


# -- tools


def test_a_functions_schema_crosses_byte_for_byte() -> None:
    schema = '{"type": "object",  "properties": {"n": {"type": ["number", "null"], "maximum": 1.50}}}'
    tools = '[{"type":"function","function":{"name":"f","parameters":%s}}]'
    raw = f'{{"messages":[{{"role":"user","content":"a"}}],"tools":{tools}}}'
    assert f'"parametersJsonSchema":{schema}'.encode() in CHAT_TO_GEMINI.request(call((raw % schema).encode())).body


def test_functions_stand_in_one_declaration() -> None:
    other = {"type": "function", "function": {"name": "now"}}
    assert translated(tools=[FUNCTION, other])["tools"] == [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "Says it.", "parametersJsonSchema": WEATHER},
                {"name": "now"},
            ]
        }
    ]


NATIVE = {
    "by type": ({"type": "google_search"}, {"googleSearch": {}}),
    "OpenAI's search": ({"type": "web_search"}, {"googleSearch": {}}),
    "as a function": ({"type": "function", "function": {"name": "googleSearch"}}, {"googleSearch": {}}),
    "with options": (
        {"type": "file_search", "file_search": {"fileSearchStoreNames": ["a"]}},
        {"fileSearch": {"fileSearchStoreNames": ["a"]}},
    ),
    "Gemini's form": ({"urlContext": {}}, {"urlContext": {}}),
    "code": ({"type": "code_execution"}, {"codeExecution": {}}),
    "maps": ({"type": "google_maps", "google_maps": {"enableWidget": True}}, {"googleMaps": {"enableWidget": True}}),
}


@pytest.mark.parametrize("name", NATIVE)
def test_googles_own_tools_pass_under_any_of_their_names(name: str) -> None:
    given, wanted = NATIVE[name]
    assert translated(tools=[given])["tools"] == [wanted]


def test_a_function_of_ones_own_may_have_googles_name() -> None:
    tool_ = {"type": "function", "function": {"name": "google_search", "parameters": WEATHER}}
    assert translated(tools=[tool_])["tools"][0]["functionDeclarations"][0]["name"] == "google_search"


def test_googles_tools_stand_beside_functions_where_the_model_takes_both() -> None:
    assert translated(NEW, tools=[FUNCTION, {"type": "google_search"}])["toolConfig"] == {
        "includeServerSideToolInvocations": True
    }


CHOICES: dict[str, tuple[Any, Any]] = {
    "auto": ("auto", {"mode": "AUTO"}),
    "required": ("required", {"mode": "ANY"}),
    "none": ("none", {"mode": "NONE"}),
    "one": (
        {"type": "function", "function": {"name": "weather"}},
        {"mode": "ANY", "allowedFunctionNames": ["weather"]},
    ),
    "some": (
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
        },
        {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]},
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_tool_choices_cross(name: str) -> None:
    given, wanted = CHOICES[name]
    assert translated(tools=[FUNCTION], tool_choice=given)["toolConfig"] == {"functionCallingConfig": wanted}


def test_strict_functions_are_held_to_their_schema() -> None:
    strict = {"type": "function", "function": {**FUNCTION["function"], "strict": True}}  # type: ignore[dict-item]
    assert translated(tools=[strict])["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


# -- parameters

PARAMETERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sampling": ({"temperature": 1.5, "top_p": 0.5, "top_k": 40}, {"temperature": 1.5, "topP": 0.5, "topK": 40}),
    "limit": ({"max_tokens": 5}, {"maxOutputTokens": 5}),
    "newer limit wins": ({"max_tokens": 5, "max_completion_tokens": 7}, {"maxOutputTokens": 7}),
    "stop": ({"stop": "a"}, {"stopSequences": ["a"]}),
    "stops": ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
    "seed": ({"seed": 1}, {"seed": 1}),
    "n": ({"n": 3}, {"candidateCount": 3}),
    "one answer": ({"n": 1}, {}),
    "penalties": (
        {"presence_penalty": 0.1, "frequency_penalty": 0.2},
        {"presencePenalty": 0.1, "frequencyPenalty": 0.2},
    ),
    "logprobs": ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
    "modalities": ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
    "image": ({"image_config": {"aspect_ratio": "16:9"}}, {"imageConfig": {"aspectRatio": "16:9"}}),
    "voice": (
        {"audio": {"voice": "Kore", "format": "pcm16"}},
        {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}},
    ),
    "null": ({"temperature": None, "stop": None}, {}),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_cross_unclamped(name: str) -> None:
    given, wanted = PARAMETERS[name]
    assert config(**given) == wanted


REASONING: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "a budget": ("gemini-2.5-flash", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192}),
    "off": ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
    "cannot be off": ("gemini-2.5-pro", {"reasoning_effort": "none"}, None),
    "a level": (NEW, {"reasoning_effort": "medium"}, {"thinkingLevel": "medium"}),
    "the next level": ("gemini-3-pro-preview", {"reasoning_effort": "medium"}, {"thinkingLevel": "high"}),
    "the least level": (NEW, {"reasoning_effort": "none"}, {"thinkingLevel": "minimal"}),
    "no thinking": ("gemini-2.0-flash", {"reasoning_effort": "high"}, None),
    "no tokens": ("gemini-2.0-flash", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None),
    "nothing adaptive": ("gemma-3-27b-it", {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"}, None),
    "tokens": (
        NEW,
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"includeThoughts": True, "thinkingBudget": 2000},
    ),
    "disabled": ("gemini-2.5-flash", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0}),
    "in Google's words": (NEW, {"thinking_config": {"thinkingLevel": "LOW"}}, {"thinkingLevel": "LOW"}),
}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_told_as_the_model_takes_it(name: str) -> None:
    model, given, wanted = REASONING[name]
    sent = outbound(model, **given)
    assert json.loads(sent.body).get("generationConfig", {}).get("thinkingConfig") == wanted
    # A word that the model does not know is told by the next one that it does, and named.
    assert bool(sent.dropped) is (wanted is None or name in ("the next level", "the least level"))


def test_thoughts_are_asked_for_where_the_client_can_be_shown_them() -> None:
    sent = CHAT_TO_GEMINI.request(call(strict=False, reasoning_effort="low"))
    assert json.loads(sent.body)["generationConfig"]["thinkingConfig"]["includeThoughts"] is True


FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": WEATHER, "strict": True}}


def test_json_answers_are_asked_for_by_schema() -> None:
    assert config(response_format=FORMAT) == {"responseMimeType": "application/json", "responseJsonSchema": WEATHER}
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config(response_format={"type": "text"}) == {}


def test_json_answers_beside_tools_are_asked_for_in_the_prompt_of_older_models() -> None:
    sent = outbound(tools=[FUNCTION], response_format=FORMAT)
    body = json.loads(sent.body)
    assert "generationConfig" not in body
    assert "JSON schema" in body["systemInstruction"]["parts"][0]["text"]
    assert sent.dropped == ("response_format",)
    assert config(NEW, tools=[FUNCTION], response_format=FORMAT)["responseJsonSchema"] == WEATHER


def test_googles_own_fields_pass() -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    sent = translated(safety_settings=safety, cached_content="cachedContents/1", service_tier="flex")
    assert (sent["safetySettings"], sent["cachedContent"], sent["serviceTier"]) == (safety, "cachedContents/1", "flex")


def test_what_cannot_survive_is_named() -> None:
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    sent = outbound(
        messages=[user([marked]), {"role": "user", "content": "b", "name": "Ann", "odd": 1}],
        user="u",
        logit_bias={"1": 2},
        store=False,
        parallel_tool_calls=False,
        tools=[FUNCTION],
    )
    assert set(sent.dropped) == {
        *("messages[].odd", "messages[].name", "cache_control", "user", "logit_bias", "parallel_tool_calls"),
    }


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"model": "m"}, "messages"),
    "a role": ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
    "a part": ({"messages": [user([{"type": "hologram"}])]}, "messages[0].content[0].type"),
    "arguments": (
        {"messages": [assistant(tool_call("a", "f", "[1]"))]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    "an address": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "ftp://x"}}])]},
        "messages[0].content[0].image_url.url",
    ),
    "a tool": ({"messages": [user()], "tools": [{"type": "hologram"}]}, "tools[0].type"),
    "a number": ({"messages": [user()], "temperature": "hot"}, "temperature"),
    "an effort": ({"messages": [user()], "reasoning_effort": "all"}, "reasoning_effort"),
    "content": ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_with_its_path(name: str) -> None:
    body, param = REFUSED[name]
    assert refusal(body).param == param


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"messages":"\xff"}', b'{"messages":' + b"[" * 5000])
def test_junk_is_refused_and_nothing_else_is_raised(body: bytes) -> None:
    refusal(body)
