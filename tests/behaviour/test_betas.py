"""Anthropic's betas, and thoughts of other makers, where Claude is served by somebody else than Anthropic."""

from __future__ import annotations

import json

import msgspec

from proxy.ports import VirtualKeyRow
from tests.behaviour.rig import HELLO, MESSAGES, Rig, api_key, virtual_key
from tests.fakes.provider import Provider

BETAS = "claude-code-20250219,context-management-2025-06-27,advisor-tool-2026-03-01"
FOREIGN = {"type": "thinking", "thinking": "Hm.", "signature": "google:c2ln"}
HISTORY = [*HELLO, {"role": "assistant", "content": [FOREIGN, {"type": "text", "text": "Yes"}]}, *HELLO]


def foundry(provider: Provider) -> VirtualKeyRow:
    made = virtual_key(
        "foundry", provider.url, provider="azure-ai", fields={"azure_foundry_url": "https://x/anthropic"}
    )
    return msgspec.structs.replace(made, custom_host=provider.url)


async def test_foundry_gets_the_betas_that_it_knows_and_the_others_are_named(provider: Provider) -> None:
    async with Rig(virtual_keys=(foundry(provider),)) as rig:
        answer = await rig.post("/v1/messages", MESSAGES, virtual_key="foundry", **{"anthropic-beta": BETAS})
        assert answer.status == 200
        assert provider.last.header("anthropic-beta") == "context-management-2025-06-27"
        named = answer.headers["x-loopway-dropped-params"].split(",")
        assert named == ["anthropic-beta.claude-code-20250219", "anthropic-beta.advisor-tool-2026-03-01"]


async def test_without_betas_no_header_goes_there(provider: Provider) -> None:
    async with Rig(virtual_keys=(foundry(provider),)) as rig:
        answer = await rig.post("/v1/messages", MESSAGES, virtual_key="foundry")
        assert provider.last.header("anthropic-beta") is None
        assert "x-loopway-dropped-params" not in answer.headers


async def test_anthropic_gets_no_thoughts_of_others_and_all_betas(provider: Provider) -> None:
    async with Rig(anthropic=provider.url) as rig:
        sent = {**MESSAGES, "messages": HISTORY}
        answer = await rig.post("/v1/messages", sent, **{"anthropic-beta": BETAS})
        assert answer.status == 200
        assert provider.last.header("anthropic-beta") == BETAS
        assert provider.last.json()["messages"][1]["content"] == [{"type": "text", "text": "Yes"}]
        assert answer.headers["x-loopway-dropped-params"] == "messages[].content[].thinking"


async def test_an_explanation_names_betas_and_thoughts_that_would_stay_behind(provider: Provider) -> None:
    keys = (api_key("admin", "lw-admin", scopes=("admin",)),)
    async with Rig(virtual_keys=(foundry(provider),), keys=keys) as rig:
        asked = {
            "path": "/v1/messages",
            "headers": {"x-portkey-virtual-key": "foundry", "anthropic-beta": BETAS},
            "body": {**MESSAGES, "messages": HISTORY},
        }
        answer = await rig.post("/v1/explain", asked, **{"x-portkey-api-key": "lw-test"}, config="")
        dropped = json.dumps(answer.json())
        for name in ("anthropic-beta.advisor-tool-2026-03-01", "messages[].content[].thinking"):
            assert name in dropped
        assert provider.requests() == []
