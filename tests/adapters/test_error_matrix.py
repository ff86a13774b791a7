"""Every upstream's error in every client's dialect, and what is no answer is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters import errors
from adapters.errors import BadAnswer
from adapters.registry import CODECS
from adapters.types import Call, Dialect

OPENAI = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": None}}
ANTHROPIC = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}
GOOGLE = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}
PLAIN = {"message": "Slow down."}

SAMPLES: dict[str, dict[str, Any]] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GOOGLE,
    "vertex": GOOGLE,
    "bedrock": PLAIN,
    "cohere": {"id": "1", "message": "Slow down."},
    "mistral": {"object": "error", "message": "Slow down.", "type": "rate_limited", "code": "1300"},
    "voyage": {"detail": "Slow down."},
    "nomic": {"detail": "Slow down."},
    "common": PLAIN,
}
"""How each vendor says 429."""

PAIRS = [pair for pair, codec in CODECS.items() if not codec.identity]


def named(pair: tuple[Dialect, Dialect]) -> str:
    return f"{pair[0]} on {pair[1]}"


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_an_error_keeps_its_status_and_its_words(pair: tuple[Dialect, Dialect]) -> None:
    client, upstream = pair
    body = json.dumps(SAMPLES[upstream.value.partition(".")[0]]).encode()
    error = CODECS[pair].error(429, {}, body)
    assert (error.status, error.kind) == (429, errors.Kind.RATE_LIMITED)
    shown = json.loads(
        errors.body(client.family, error.kind, error.message, type=error.type, param=error.param, code=error.code)
    )
    assert shown["error"]["message"] == "Slow down."
    if client.family == "anthropic":
        assert (shown["type"], shown["error"]["type"]) == ("error", "rate_limit_error")
    elif client.family in ("openai", "responses"):
        assert shown["error"]["type"]
        if upstream.value.startswith("openai"):
            assert (shown["error"]["type"], shown["error"]["code"]) == ("requests", "rate_limit_exceeded")
        if upstream is Dialect.MISTRAL_CHAT:
            assert (shown["error"]["type"], shown["error"]["code"]) == ("rate_limited", "1300")


GOOGLES = [pair for pair in PAIRS if pair[1].value.startswith("gemini") or pair[1] is Dialect.VERTEX_PREDICT]


@pytest.mark.parametrize("pair", GOOGLES, ids=named)
def test_when_to_come_back_is_kept_where_the_body_says_it(pair: tuple[Dialect, Dialect]) -> None:
    # Everywhere else it is a header line, which passes as it is: the matrix of SDKs shows that.
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    body = json.dumps({"error": {**GOOGLE["error"], "details": [wait]}}).encode()
    assert CODECS[pair].error(429, {}, body).retry_after == 34.5


@pytest.mark.parametrize("client", [Dialect.GEMINI_GENERATE, Dialect.GEMINI_STREAM_ARRAY])
def test_geminis_clients_read_the_providers_type_and_code_in_the_details(client: Dialect) -> None:
    error = CODECS[(client, Dialect.OPENAI_CHAT)].error(429, {}, json.dumps(OPENAI).encode())
    shown = json.loads(
        errors.body(client.family, error.kind, error.message, type=error.type, code=error.code, status=error.status)
    )["error"]
    assert (shown["code"], shown["status"]) == (429, "RESOURCE_EXHAUSTED")
    [info] = shown["details"]
    assert (info["reason"], info["metadata"]) == ("rate_limit_exceeded", {"type": "requests"})


@pytest.mark.parametrize(
    ("upstream", "said", "headers"),
    [
        (Dialect.OPENAI_CHAT, OPENAI, {}),
        (Dialect.GEMINI_GENERATE, GOOGLE, {}),
        (Dialect.BEDROCK_CONVERSE, PLAIN, {"x-amzn-errortype": "ThrottlingException:http://internal"}),
        (Dialect.MISTRAL_CHAT, SAMPLES["mistral"], {}),
    ],
)
def test_messages_clients_read_the_providers_own_type_in_the_details(
    upstream: Dialect, said: dict[str, Any], headers: dict[str, str]
) -> None:
    error = CODECS[(Dialect.ANTHROPIC_MESSAGES, upstream)].error(429, headers, json.dumps(said).encode())
    told = json.loads(errors.body("anthropic", error.kind, error.message, type=error.type, code=error.code))["error"]
    assert (told["type"], told["details"]) == ("rate_limit_error", {"type": error.type})
    event = errors.event("anthropic", error.kind, error.message, type=error.type, code=error.code)
    assert json.loads(event.partition(b"data: ")[2])["error"] == told


@pytest.mark.parametrize("client", [Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE])
@pytest.mark.parametrize(("said", "type"), [(ANTHROPIC, "rate_limit_error"), (GOOGLE, "RESOURCE_EXHAUSTED")])
def test_at_vertex_ai_the_model_or_google_says_what_went_wrong(
    client: Dialect, said: dict[str, Any], type: str
) -> None:
    error = CODECS[(client, Dialect.VERTEX_ANTHROPIC)].error(429, {}, json.dumps(said).encode())
    assert (error.type, error.message) == (type, "Slow down.")


@pytest.mark.parametrize("pair", PAIRS, ids=named)
@pytest.mark.parametrize("body", [b"", b"<html>Busy</html>", b"\xff", b"[" * 100_000, b"7", b"null", b'{"error":null}'])
def test_any_error_body_gives_an_error_of_its_status(pair: tuple[Dialect, Dialect], body: bytes) -> None:
    error = CODECS[pair].error(503, {}, body)
    assert (error.status, error.kind) == (503, errors.Kind.OVERLOADED)
    assert error.message


REQUESTS: dict[Dialect, dict[str, Any]] = {
    Dialect.OPENAI_CHAT: {"messages": [{"role": "user", "content": "a"}]},
    Dialect.OPENAI_COMPLETIONS: {"prompt": "a"},
    Dialect.OPENAI_RESPONSES: {"input": "a"},
    Dialect.OPENAI_EMBEDDINGS: {"input": "a"},
    Dialect.ANTHROPIC_MESSAGES: {"messages": [{"role": "user", "content": "a"}], "max_tokens": 9},
    Dialect.RERANK: {"query": "q", "documents": ["a"]},
}


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] in REQUESTS], ids=named)
@pytest.mark.parametrize("body", [b"", b"<html>Busy</html>", b"\xff", b"7", b'{"unexpected":true}', b'{"id":"1"}'])
def test_what_is_no_answer_is_refused_whatever_its_status(pair: tuple[Dialect, Dialect], body: bytes) -> None:
    asked = Call(
        pair[0], "claude-2" if "complete" in pair[1] else "m", False, json.dumps(REQUESTS[pair[0]]).encode(), "i", 0
    )
    with pytest.raises(BadAnswer):
        CODECS[pair].response(asked, body)


def test_an_error_in_a_responses_stream_is_one_event_of_openais_shape() -> None:
    event = errors.event("responses", errors.Kind.BAD_UPSTREAM, "Broken off.", code="cut")
    name, data = event.decode().rstrip("\n").split("\n")
    assert name == "event: error"
    told = json.loads(data.removeprefix("data: "))
    assert (told["type"], told["message"], told["code"]) == ("error", "Broken off.", "cut")
    assert told["error"]["message"] == "Broken off."
