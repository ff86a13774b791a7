from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.bedrock import MESSAGES_TO_INVOKE
from adapters.errors import NO_THREADS, BadAnswer, InvalidRequest, Kind
from adapters.providers import PROVIDERS
from adapters.types import Call, Dialect, Usage
from adapters.vertex import CHAT_TO_RAW, MESSAGES_TO_RAW, bare
from proxy.config.access import Access
from proxy.config.target import Target

BODY: dict[str, Any] = {"model": "x", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "odd": 1.50}


def call(**more: Any) -> Call:
    return Call(Dialect.ANTHROPIC_MESSAGES, "anthropic.claude-x", True, json.dumps(BODY).encode(), "i", 1, **more)


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


START = event("message_start", message={"id": "m", "type": "message", "usage": {"input_tokens": 3, "output_tokens": 1}})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "ž"})
DELTA = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
STREAM = START + event("vertex_event", some="thing") + event("ping") + TEXT + DELTA + event("message_stop")


def test_a_conversation_is_left_with_nobody_but_anthropic() -> None:
    body = json.dumps({**BODY, "thread": {"type": "create"}}).encode()
    asked = Call(Dialect.ANTHROPIC_MESSAGES, "anthropic.claude-x", True, body, "i", 1)
    for codec in (MESSAGES_TO_RAW, MESSAGES_TO_INVOKE):
        with pytest.raises(InvalidRequest) as refused:
            codec.request(asked)
        assert refused.value.code == NO_THREADS


def test_a_request_loses_its_model_and_gains_the_version() -> None:
    known = ("context-1m-2025-08-07", "interleaved-thinking-2025-05-14")
    sent = MESSAGES_TO_RAW.request(call(betas=(*known, "prompt-caching-scope-2026-01-05")))
    assert sent.headers == (("anthropic-beta", ",".join(known)),)
    assert sent.dropped == ("anthropic-beta.prompt-caching-scope-2026-01-05",)
    body = json.loads(sent.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert body == {name: value for name, value in BODY.items() if name != "model"}
    assert b'"odd":1.5' in sent.body


def test_events_pass_but_for_googles_own_wherever_they_are_cut() -> None:
    expected = STREAM.replace(event("vertex_event", some="thing"), b"")
    for at in range(len(STREAM)):
        decoder = MESSAGES_TO_RAW.stream(call())
        assert decoder.feed(STREAM[:at]) + decoder.feed(STREAM[at:]) + decoder.close() == expected
        assert (decoder.error, decoder.usage) == (None, Usage(3, 7))


def test_a_stream_cut_short_and_one_with_an_error_say_so() -> None:
    decoder = MESSAGES_TO_RAW.stream(call())
    decoder.feed(START + TEXT)
    decoder.close()
    assert decoder.error is not None
    decoder = MESSAGES_TO_RAW.stream(call())
    assert decoder.feed(START + event("error", error={"type": "overloaded_error", "message": "Busy"})) == START
    assert decoder.error is not None
    assert decoder.error.kind is Kind.OVERLOADED


def test_chat_goes_there_as_to_anthropic_itself() -> None:
    made = CHAT_TO_RAW.request(call())
    assert json.loads(made.body)["anthropic_version"] == "vertex-2023-10-16"
    assert b"[DONE]" in CHAT_TO_RAW.stream(call()).feed(STREAM)


def test_what_is_no_message_is_a_bad_answer() -> None:
    for body in (b"<html>", b'{"type":"error"}', b"[]"):
        with pytest.raises(BadAnswer):
            MESSAGES_TO_RAW.response(call(), body)


@pytest.mark.parametrize(
    ("model", "name"), [("google.gemini", "gemini"), ("gemini-2.5-pro", "gemini-2.5-pro"), ("meta.llama", "llama")]
)
def test_the_publisher_is_no_part_of_the_name(model: str, name: str) -> None:
    assert bare(model) == name


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west1", "europe-west1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_regions_have_hosts(region: str, host: str) -> None:
    fields = {"vertex_region": region, "vertex_project_id": "p"}
    assert Target(Access(PROVIDERS["vertex-ai"], "ya29.x", fields=fields)).origin.host == host


def test_a_service_account_names_its_project() -> None:
    account = {"client_email": "a@b", "private_key": "x", "project_id": "mine"}
    fields = {"vertex_region": "global", "vertex_service_account_json": account}
    target = Target(Access(PROVIDERS["vertex-ai"], "", fields=fields))
    wire = target.wire_for(Dialect.OPENAI_CHAT, "gemini-2.5-pro")
    assert wire is not None
    assert wire.path.startswith("/v1beta1/projects/mine/locations/global/publishers/google/models/gemini-2.5-pro:")
