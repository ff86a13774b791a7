"""Every other path below /v1 goes to the addressed provider as it is, with the stored credential."""

from __future__ import annotations

import hashlib
import json
import os
import wave
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Make
from tests.fakes.gateway import OPENAI_SLUG, Gateway, Upstream

TO_OPENAI = {"x-portkey-virtual-key": OPENAI_SLUG}


def test_moderations_by_header(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client(TO_OPENAI).moderations.create(input="no violence here")
    assert answer.results[0].flagged
    assert upstream.last.path == "/v1/moderations"
    assert upstream.last.credential == "sk-openai"


def test_moderations_by_the_model_in_the_body(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client().moderations.create(input="hello", model=f"@{OPENAI_SLUG}/omni-moderation-latest")
    assert not answer.results[0].flagged
    assert upstream.last.json()["model"] == "omni-moderation-latest"


def test_images_are_made(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client(TO_OPENAI).images.generate(model="dall-e-3", prompt="a cat")
    assert answer.data[0].b64_json
    assert upstream.last.path == "/v1/images/generations"


def test_speech_comes_as_the_providers_bytes(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client(TO_OPENAI).audio.speech.create(model="tts-1", voice="alloy", input="hi")
    sent = upstream.last.body
    direct = httpx.post(
        f"{upstream.url}/v1/audio/speech", content=sent, headers={"authorization": "Bearer k"}, trust_env=False
    )
    assert answer.content == direct.content
    assert answer.response.headers["content-type"] == "audio/mpeg"


def test_megabytes_of_speech_are_streamed(openai_client: Make) -> None:
    size = 20_000_000
    with openai_client(TO_OPENAI).audio.speech.with_streaming_response.create(
        model=f"tts-1::size={size}", voice="alloy", input="hi"
    ) as answer:
        assert sum(len(part) for part in answer.iter_bytes()) == size


def test_a_recording_is_uploaded_for_transcription(openai_client: Make, upstream: Upstream) -> None:
    audio = os.urandom(3_000_000)
    answer = openai_client(TO_OPENAI).audio.transcriptions.create(model="whisper-1", file=("a.mp3", audio))
    assert answer.text == f"a.mp3: {len(audio)} bytes, sha256 {hashlib.sha256(audio).hexdigest()}"
    assert upstream.last.model == "whisper-1"


def test_portkeys_sdk_uploads_a_recording(portkey: Make, tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    with wave.open(str(recording), "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", ""))
        made.writeframes(bytes(16_000))
    with recording.open("rb") as audio:
        answer = portkey(virtual_key=OPENAI_SLUG).audio.transcriptions.create(model="whisper-1", file=audio)
    assert answer.text.startswith("a.wav: 16044 bytes")


def test_files_are_uploaded(openai_client: Make, upstream: Upstream) -> None:
    lines = b"".join(json.dumps({"custom_id": str(n)}).encode() + b"\n" for n in range(1000))
    made = openai_client(TO_OPENAI).files.create(file=("batch.jsonl", lines), purpose="batch")
    assert (made.filename, made.bytes, made.purpose) == ("batch.jsonl", len(lines), "batch")
    assert upstream.last.path == "/v1/files"


def test_responses_pass_through(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client(TO_OPENAI).responses.create(model="gpt-4o", input="Say this is a test")
    assert answer.output_text
    assert upstream.last.path == "/v1/responses"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_unknown_paths_keep_method_path_query_and_body(method: str, gateway: Gateway, upstream: Upstream) -> None:
    body = None if method in ("GET", "DELETE") else b'{"b":1, "a":[1e5]}'
    answer = gateway.request(method, "/v1/vector_stores/vs_1/files?limit=2&after=a%20b", body, headers=TO_OPENAI)
    assert answer.status_code == 200
    sent = upstream.last
    assert (sent.method, sent.path, sent.query) == (method, "/v1/vector_stores/vs_1/files", "limit=2&after=a%20b")
    assert sent.body == (body or b"")
    assert sent.credential == "sk-openai"


def test_nothing_of_the_gateways_headers_reaches_the_provider(gateway: Gateway, upstream: Upstream) -> None:
    headers = {**TO_OPENAI, "x-portkey-metadata": '{"a": "b"}', "cookie": "a=b", "x-loopway-trace-id": "t-1"}
    gateway.get("/v1/assistants", headers=headers)
    names = {name.lower() for name, _ in upstream.last.headers}
    assert not any(name.startswith(("x-portkey-", "x-loopway-")) for name in names)
    assert "cookie" not in names


def test_a_provider_is_needed(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.get("/v1/assistants")
    assert answer.status_code == 400
    assert "x-portkey-virtual-key" in answer.json()["message"]
    assert upstream.requests() == []


def test_a_providers_error_passes_as_it_is(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "tts-1::status=429,retry_after=7", "input": "hi", "voice": "alloy"}
    answer = gateway.post("/v1/audio/speech", body, headers=TO_OPENAI)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(("key", "slug"), [("lw-models", OPENAI_SLUG), ("lw-both", "openai-small")])
def test_allow_lists_of_models_hold_here_too(key: str, slug: str, gateway: Gateway, upstream: Upstream) -> None:
    headers = {"x-portkey-api-key": key, "x-portkey-virtual-key": slug}
    for body in ({"model": "gpt-5-mini", "input": "a"}, {"model": f"@{slug}/gpt-5-mini", "input": "a"}):
        for content_type in ("application/json", "Application/JSON; charset=utf-8"):
            given = {**headers, "content-type": content_type}
            answer = gateway.post("/v1/moderations", json.dumps(body).encode(), headers=given)
            assert answer.status_code == 412
            assert answer.json()["error"]["type"] == "model_not_allowed_error"
    for hidden in ("text/plain", "multipart/form-data; boundary=a"):
        answer = gateway.post(
            "/v1/moderations", b'{"model": "gpt-5-mini"}', headers={**headers, "content-type": hidden}
        )
        assert answer.status_code == 412
    form = {"files": {"file": ("a.mp3", b"audio")}, "data": {"model": "whisper-1"}}
    assert gateway.request("POST", "/v1/audio/transcriptions", headers=headers, **form).status_code == 412
    assert upstream.requests() == []
    allowed = gateway.post("/v1/moderations", {"model": "gpt-4o-mini", "input": "a"}, headers=headers)
    assert allowed.status_code == 200
    upload = {"files": {"file": ("a.jsonl", b"{}")}, "data": {"purpose": "batch"}}
    assert gateway.request("POST", "/v1/files", headers=headers, **upload).status_code == 200


def test_the_slug_is_taken_off_the_model_whoever_addresses(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": f"@{OPENAI_SLUG}/gpt-4o", "input": "a"}
    assert gateway.post("/v1/responses", body, headers=TO_OPENAI).status_code == 200
    assert upstream.last.json() == {"model": "gpt-4o", "input": "a"}
