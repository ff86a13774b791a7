"""POST /v1/explain: what would happen, told by the code that would do it, and without doing it."""

from __future__ import annotations

import json
from typing import Any

from tests.behaviour.client import Answer
from tests.behaviour.rig import CHAT, HELLO, Rig, api_key, virtual_key
from tests.fakes.provider import Provider

FALLBACK = {
    "strategy": {"mode": "fallback", "on_status_codes": [429, 500]},
    "targets": [
        {"virtual_key": "openai-a", "override_params": {"model": "gpt-4o"}, "cache": {"mode": "simple"}},
        {"virtual_key": "anthropic-a", "override_params": {"model": "claude-sonnet-4-5"}, "retry": {"attempts": 2}},
    ],
}


def _rig(provider: Provider) -> Rig:
    rows = (virtual_key("openai-a", provider.url), virtual_key("anthropic-a", provider.url))
    keys = (
        api_key("admin", "lw-admin", scopes=("admin",)),
        api_key("narrow", "lw-narrow", virtual_keys=("anthropic-a",)),
    )
    return Rig(virtual_keys=rows, configs={"pc-f": FALLBACK}, keys=keys)


async def _explain(rig: Rig, token: str = "lw-test", headers: Any = None, **body: Any) -> Answer:
    return await rig.post("/v1/explain", body, **{"x-portkey-api-key": token, **(headers or {})}, config="")


async def test_the_plan_is_told_as_a_tree_and_nothing_is_called(provider: Provider) -> None:
    async with _rig(provider) as rig:
        answer = await _explain(rig, config="pc-f", body={**CHAT, "logit_bias": {"1": 2}})
        assert answer.status == 200
        found = answer.json()
        assert found["because"] == "the request's own config decides"
        assert (found["reaches"], found["target"]) == ("config.targets[0]", "openai-a")
        first, second = found["plan"]["children"]
        assert (first["state"], first["model"], first["speaks"], first["cache"]) == (
            "chosen", "gpt-4o", "openai.chat", "MISS",
        )  # fmt: skip
        assert (second["state"], second["retries"], second["speaks"]) == ("next", 2, "anthropic.messages")
        assert second["reason"] == "only when config.targets[0] ends with 429 or 500"
        assert "logit_bias" in second["dropped"]
        assert provider.requests() == []
        assert await rig.usage() == []


async def test_it_knows_what_the_cache_would_answer(provider: Provider) -> None:
    async with _rig(provider) as rig:
        await rig.post("/v1/chat/completions", CHAT, config="pc-f")
        found = (await _explain(rig, config="pc-f", body=CHAT)).json()
        assert found["plan"]["children"][0]["cache"] == "HIT"


async def test_a_target_that_the_key_may_not_use_is_passed_by_and_named(provider: Provider) -> None:
    async with _rig(provider) as rig:
        found = (await _explain(rig, "lw-narrow", config="pc-f", body=CHAT)).json()
        assert found["reaches"] == "config.targets[1]"
        assert found["plan"]["children"][0]["refused"] == "This API key may not use the virtual key 'openai-a'."


async def test_the_requests_own_headers_count_and_the_bodys_win(provider: Provider) -> None:
    async with _rig(provider) as rig:
        own = {"x-portkey-virtual-key": "openai-a"}
        assert (await _explain(rig, headers=own, body=CHAT)).json()["target"] == "openai-a"
        named = {"x-portkey-virtual-key": "anthropic-a"}
        assert (await _explain(rig, headers=own, body=CHAT, headers_=named)).status == 400
        raw = json.dumps({"body": {**CHAT, "model": "claude-x"}, "headers": named}).encode()
        answer = await rig.post("/v1/explain", raw, **own, config="")
        assert answer.json()["target"] == "anthropic-a"


async def test_only_administrators_see_addresses_and_ask_for_others(provider: Provider) -> None:
    async with _rig(provider) as rig:
        plain = (await _explain(rig, config="pc-f", body=CHAT)).json()
        assert "address" not in plain["plan"]["children"][0]
        told = (await _explain(rig, "lw-admin", config="pc-f", body=CHAT, api_key="narrow")).json()
        assert told["api_key"] == "narrow"
        assert told["reaches"] == "config.targets[1]"
        assert told["plan"]["children"][0]["address"].startswith(provider.url)
        assert (await _explain(rig, api_key="narrow", body=CHAT)).status == 403
        assert (await _explain(rig, "lw-admin", api_key="nobody", body=CHAT)).status == 404


async def test_what_the_gateway_would_refuse_is_refused_in_its_words(provider: Provider) -> None:
    async with _rig(provider) as rig:
        answer = await _explain(rig, config={"strategy": {"mode": "fallbck"}, "targets": []}, body=CHAT)
        assert (answer.status, answer.json()["message"]) == (400, "Invalid config passed")
        assert (await _explain(rig, body=CHAT, path="/v1/nothing")).status == 400
        assert (await _explain(rig, body={"messages": HELLO, "model": "none-such"})).status == 404
        assert (await _explain(rig, "lw-wrong", body=CHAT)).status == 401


async def test_chance_is_told_as_chance(provider: Provider) -> None:
    config = {
        "strategy": {"mode": "loadbalance"},
        "targets": [{"virtual_key": "openai-a", "weight": 3}, {"virtual_key": "anthropic-a"}],
    }
    async with _rig(provider) as rig:
        found = (await _explain(rig, config=config, body=CHAT)).json()
        assert "reaches" not in found
        assert [child["state"] for child in found["plan"]["children"]] == ["possible", "possible"]
        assert "75.0%" in found["plan"]["children"][0]["reason"]
