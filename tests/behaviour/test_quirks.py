"""What a row wants otherwise, on the wire: what goes to its provider, what is named, and what a strict request gets."""

from __future__ import annotations

import pytest

from tests.behaviour.rig import CHAT, MESSAGES, Rig, virtual_key
from tests.fakes.provider import Provider


@pytest.mark.parametrize(
    ("provider_name", "asked", "sent", "named"),
    [
        ("groq", {"logprobs": True, "frequency_penalty": 1, "n": 1}, {"n": 1}, "logprobs,frequency_penalty"),
        ("groq", {"logprobs": False, "presence_penalty": 0}, {}, None),
        ("ollama", {"max_completion_tokens": 9, "tool_choice": "none"}, {"max_tokens": 9}, "tool_choice"),
        ("together-ai", {"logprobs": True, "top_logprobs": 3, "min_p": 0.1}, {"logprobs": 3, "min_p": 0.1}, None),
        ("x-ai", {"frequency_penalty": 0, "search_parameters": {}}, {"search_parameters": {}}, None),
        ("openai-compatible", {"keep_alive": "5m", "top_k": 4}, {"keep_alive": "5m", "top_k": 4}, None),
    ],
)
async def test_a_row_leaves_out_what_it_says_and_names_it(
    provider: Provider, provider_name: str, asked: dict[str, object], sent: dict[str, object], named: str | None
) -> None:
    async with Rig(virtual_keys=(virtual_key("vk", provider.url, provider=provider_name),)) as rig:
        answer = await rig.post("/v1/chat/completions", {**CHAT, **asked})
        assert answer.status == 200
        assert provider.last.json() == {**CHAT, **sent}
        assert answer.headers.get("x-loopway-dropped-params") == named
        strict = await rig.post("/v1/chat/completions", {**CHAT, **asked}, **{"x-loopway-strict-params": "true"})
        assert strict.status == (200 if named is None else 400)
        assert named is None or strict.json()["error"]["code"] == "unsupported_parameter"


async def test_another_dialects_client_is_told_in_its_own_words(provider: Provider) -> None:
    async with Rig(ollama=provider.url) as rig:
        body = {**MESSAGES, "metadata": {"user_id": "u"}}
        answer = await rig.post("/v1/messages", body)
        assert answer.status == 200
        assert "user" not in provider.last.json()
        assert answer.headers["x-loopway-dropped-params"] == "metadata.user_id"
