"""Google's SDK on generateContent: what it reads is the same whichever provider answers."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import httpx
import pytest
from google.genai import errors, types

from tests.e2e.conftest import Make
from tests.e2e.samples import CITY, CLAUDE, GEMINI, GPT, HELLO, OPENAI_TOOLS, PDF, PIXEL, SAID, TEST, USE_BOTH, text_of
from tests.fakes.gateway import GOOGLE_SECRET, GOOGLE_SLUG, Gateway, Upstream

all_three = pytest.mark.parametrize("model", [GEMINI, GPT, CLAUDE], ids=["google", "openai", "anthropic"])
foreign = pytest.mark.parametrize("model", [GPT, CLAUDE], ids=["openai", "anthropic"])


def declared(name: str) -> types.FunctionDeclaration:
    city = types.Schema(type=types.Type.STRING)
    schema = types.Schema(type=types.Type.OBJECT, properties={"city": city}, required=["city"])
    return types.FunctionDeclaration(name=name, description=f"The {name} of a city", parameters=schema)


TOOLS = [types.Tool(function_declarations=[declared("weather"), declared("time")])]


@all_three
def test_a_question_is_answered(model: str, gemini_client: Make) -> None:
    answer = gemini_client().models.generate_content(model=model, contents=TEST)
    assert answer.text == SAID
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (5, 4, 9)
    assert answer.response_id
    assert answer.model_version


@all_three
def test_an_answer_is_streamed(model: str, gemini_client: Make) -> None:
    events = list(gemini_client().models.generate_content_stream(model=model, contents=TEST))
    assert len(events) > 2
    assert "".join(event.text or "" for event in events) == SAID
    assert events[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert events[-1].usage_metadata.candidates_token_count == 4


@all_three
def test_a_chat_remembers_and_parallel_calls_are_answered(model: str, gemini_client: Make) -> None:
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    chat = gemini_client().chats.create(model=model, config=config)
    answer = chat.send_message(USE_BOTH)
    assert [(call.name, call.args) for call in answer.function_calls] == [
        ("weather", {"city": USE_BOTH}),
        ("time", {"city": USE_BOTH}),
    ]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": text}))
        for call, text in zip(answer.function_calls, ("sunny", "noon"), strict=True)
    ]
    # OpenAI's mock repeats the last result, the others all.
    assert chat.send_message(results).text in ("The tool said: sunny noon", "The tool said: noon")


@all_three
def test_calls_are_streamed_whole(model: str, gemini_client: Make) -> None:
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    events = list(gemini_client().models.generate_content_stream(model=model, contents=USE_BOTH, config=config))
    calls = [call for event in events for call in event.function_calls or []]
    assert [(call.name, call.args) for call in calls] == [
        ("weather", {"city": USE_BOTH}),
        ("time", {"city": USE_BOTH}),
    ]


@all_three
def test_the_sdk_calls_functions_by_itself(model: str, gemini_client: Make) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny, asked for {city[:8]}"

    config = types.GenerateContentConfig(tools=[weather])
    answer = gemini_client().models.generate_content(model=model, contents="Use the tool weather now", config=config)
    assert answer.text == "The tool said: sunny, asked for Use the "


@all_three
def test_pictures_are_seen(model: str, gemini_client: Make) -> None:
    image = types.Part.from_bytes(data=b64decode(PIXEL), mime_type="image/png")
    answer = gemini_client().models.generate_content(model=model, contents=["What is this?", image])
    assert "[1 image]" in answer.text


@foreign
def test_documents_are_seen(model: str, gemini_client: Make, upstream: Upstream) -> None:
    document = types.Part.from_bytes(data=b64decode(PDF), mime_type="application/pdf")
    gemini_client().models.generate_content(model=model, contents=[document, "Read it."])
    assert PDF in upstream.last.body.decode()


@all_three
def test_answers_keep_to_a_json_schema(model: str, gemini_client: Make) -> None:
    for schema in ({"response_json_schema": CITY}, {"response_schema": declared("x").parameters}):
        config = types.GenerateContentConfig(response_mime_type="application/json", **schema)
        answer = gemini_client().models.generate_content(model=model, contents=TEST, config=config)
        assert json.loads(answer.text) == {"city": "example"}


@pytest.mark.parametrize("model", [GEMINI, CLAUDE], ids=["google", "anthropic"])
def test_thoughts_are_shown_and_travel_back(model: str, gemini_client: Make, upstream: Upstream) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    config = types.GenerateContentConfig(
        tools=TOOLS,
        thinking_config=thinking,
        max_output_tokens=4000,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    chat = gemini_client({"x-portkey-strict-open-ai-compliance": "false"}).chats.create(model=model, config=config)
    answer = chat.send_message("Use the tool weather")
    thoughts = [part.text for part in answer.candidates[0].content.parts if part.thought]
    if model == GEMINI:
        assert thoughts == ["The user wants: Use the tool weather"]
    call = answer.function_calls[0]
    signature = next(part.thought_signature for part in answer.candidates[0].content.parts if part.function_call)
    response = types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
    assert chat.send_message(types.Part(function_response=response)).text == "The tool said: sunny"
    if model == GEMINI:
        assert signature
        assert "thoughtSignature" in upstream.last.body.decode()


@all_three
def test_an_error_is_told_in_googles_words(model: str, gemini_client: Make) -> None:
    with pytest.raises(errors.ServerError) as caught:
        gemini_client().models.generate_content(model=f"{model}::status=503", contents=TEST)
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
    with pytest.raises(errors.ClientError) as limited:
        list(gemini_client().models.generate_content_stream(model=f"{model}::status=429", contents=TEST))
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_the_gateways_own_refusals_are_told_in_googles_words(gateway: Gateway, gemini_client: Make) -> None:
    with pytest.raises(errors.ClientError) as unknown:
        gemini_client().models.generate_content(model="@nobody/x", contents=TEST)
    assert (unknown.value.code, unknown.value.status) == (400, "INVALID_ARGUMENT")
    with pytest.raises(errors.ClientError) as stranger:
        gemini_client(api_key="wrong").models.generate_content(model=GEMINI, contents=TEST)
    assert (stranger.value.code, stranger.value.status) == (401, "UNAUTHENTICATED")


@all_three
def test_a_stream_that_breaks_off_ends_with_an_error(model: str, gateway: Gateway) -> None:
    url = f"{gateway.url}/v1beta/models/{model}::chunks=50,reset_after=2000:streamGenerateContent"
    body = {"contents": [{"parts": [{"text": TEST}]}]}
    found = httpx.post(f"{url}?alt=sse", json=body, headers={"x-goog-api-key": gateway.api_key})
    last = json.loads(found.text.strip().rpartition("data: ")[2])
    assert last["error"]["status"] in ("INTERNAL", "UNAVAILABLE")
    assert "finishReason" not in found.text
    array = httpx.post(url, json=body, headers={"x-goog-api-key": gateway.api_key}) if model != GEMINI else None
    if array is not None:
        assert array.json()[-1]["error"]["status"] in ("INTERNAL", "UNAVAILABLE")


@all_three
def test_a_stream_may_be_one_array(model: str, gateway: Gateway) -> None:
    found = httpx.post(
        f"{gateway.url}/v1beta/models/{model}:streamGenerateContent",
        json={"contents": [{"role": "user", "parts": [{"text": TEST}]}]},
        headers={"x-goog-api-key": gateway.api_key},
    )
    assert found.headers["content-type"].startswith("application/json")
    parts = [part for each in found.json() for part in each["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == SAID


def test_the_same_dialect_passes_byte_for_byte(gateway: Gateway, upstream: Upstream) -> None:
    body = b'{ "contents":[{"parts":[{"text":"\\u0041"}]}],  "generation_config" : {"top_p":1.0} }'.replace(
        b"generation_config", b"generationConfig"
    ).replace(b"top_p", b"topP")
    found = httpx.post(
        f"{gateway.url}/v1beta/models/%40{GOOGLE_SLUG}%2Fgemini-2.5-flash:generateContent",
        content=body,
        headers={"x-goog-api-key": gateway.api_key, "content-type": "application/json"},
    )
    assert found.status_code == 200
    assert upstream.last.body == body
    assert upstream.last.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert upstream.last.header("x-goog-api-key") == GOOGLE_SECRET
    assert gateway.api_key not in str(upstream.last.headers)


def test_the_model_may_be_named_by_header(gateway: Gateway, gemini_client: Make) -> None:
    client = gemini_client({"x-portkey-virtual-key": GOOGLE_SLUG})
    assert client.models.generate_content(model="gemini-2.5-flash", contents=TEST).text == SAID
    older = gemini_client(http_options={"base_url": gateway.url, "api_version": "v1beta"})
    assert older.models.generate_content(model=GEMINI, contents=TEST).text == SAID


def test_tokens_are_counted_by_google_or_guessed(gemini_client: Make) -> None:
    assert gemini_client().models.count_tokens(model=GEMINI, contents=TEST).total_tokens == 5
    assert gemini_client().models.count_tokens(model=GPT, contents=TEST).total_tokens > 3


def test_models_are_listed(gateway: Gateway, gemini_client: Make) -> None:
    client = gemini_client({"x-portkey-virtual-key": GOOGLE_SLUG})
    names = [model.name for model in client.models.list()]
    assert f"models/{GEMINI}" in names
    assert client.models.get(model=GEMINI).name == f"models/{GEMINI}"
    newer = gemini_client(http_options={"base_url": gateway.url, "api_version": "v1beta"})
    assert newer.models.get(model=f"models/{GEMINI}").display_name == "gemini-2.5-flash"
    assert f"models/{GEMINI}" in [model.name for model in newer.models.list()]
    for one in (client, newer):
        with pytest.raises(errors.ClientError) as unknown:
            one.models.get(model=f"@{GOOGLE_SLUG}/nobody")
        assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("ask", [lambda each: each.models.list(), lambda each: each.files.list()])
@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_what_is_refused_on_paths_of_no_dialect_is_told_as_google_does(
    gateway: Gateway, gemini_client: Make, ask: Any, version: str
) -> None:
    client = gemini_client(api_key="lw-wrong", http_options={"base_url": gateway.url, "api_version": version})
    with pytest.raises(errors.ClientError) as raised:
        list(ask(client))
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")


# -- other clients on Gemini


def test_openais_sdk_talks_to_gemini(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client().chat.completions.create(model=GEMINI, messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 4)
    assert upstream.last.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    stream = openai_client().chat.completions.create(model=GEMINI, messages=HELLO, stream=True)
    assert text_of(stream) == SAID
    assert upstream.last.query == "alt=sse"


def test_openais_sdk_calls_tools_through_gemini(openai_client: Make) -> None:
    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    answer = openai_client().chat.completions.create(model=GEMINI, messages=messages, tools=OPENAI_TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert len({call.id for call in calls}) == 2
    messages.append(choice.message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": call.function.name} for call in calls]
    again = openai_client().chat.completions.create(model=GEMINI, messages=messages, tools=OPENAI_TOOLS)
    assert again.choices[0].message.content == "The tool said: weather time"


def test_anthropics_sdk_talks_to_gemini(anthropic_client: Make) -> None:
    answer = anthropic_client().messages.create(model=GEMINI, messages=HELLO, max_tokens=100)
    assert [(block.type, block.text) for block in answer.content] == [("text", SAID)]
    with anthropic_client().messages.stream(model=GEMINI, messages=HELLO, max_tokens=100) as stream:
        assert stream.get_final_message().content[0].text == SAID


def test_when_to_come_back_is_read_from_googles_body(gateway: Gateway) -> None:
    found = httpx.post(
        f"{gateway.v1}/chat/completions",
        json={"model": f"{GEMINI}::status=429", "messages": HELLO},
        headers={"authorization": f"Bearer {gateway.api_key}"},
    )
    assert (found.status_code, found.headers["retry-after"]) == (429, "2")
    assert found.json()["error"]["type"] == "RESOURCE_EXHAUSTED"
