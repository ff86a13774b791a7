"""Strategies by Portkey's SDKs, in Python and in Node: as dict, JSON text and slug, and what answers say of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Make
from tests.e2e.programs import scenario
from tests.e2e.samples import HELLO, SAID
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, OPENAI_SLUG, Gateway, Upstream

Chat = Callable[[Any, dict[str, str]], dict[str, str]]
"""Chats by a config, with metadata; returns what `get_headers()` does."""

OPENAI = {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o"}}
ANTHROPIC = {"virtual_key": ANTHROPIC_SLUG, "override_params": {"model": "claude-sonnet-4-5", "max_tokens": 50}}
SLOW = {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o::delay=5000"}}
DOWN = {"virtual_key": "openai-overloaded"}

_numbers = itertools.count(7001)


@pytest.fixture(params=["python", "node"])
def chat(request: pytest.FixtureRequest, gateway: Gateway, portkey: Make) -> Chat:
    def by_python(config: Any, metadata: dict[str, str]) -> dict[str, str]:
        answer = portkey(config=config, metadata=metadata).chat.completions.create(model="gpt-4o", messages=HELLO)
        assert answer.choices[0].message.content == SAID
        found: dict[str, str] = answer.get_headers()
        return found

    def by_node(config: Any, metadata: dict[str, str]) -> dict[str, str]:
        found = scenario("chat", gateway, model="gpt-4o", options={"config": config, "metadata": metadata})
        assert found["answer"]["choices"][0]["message"]["content"] == SAID
        headers: dict[str, str] = found["headers"]
        return headers

    return by_python if request.param == "python" else by_node


@pytest.fixture(params=["object", "JSON", "slug"])
def given(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Brings a config into the form in which users hand it over."""
    made: list[str] = []

    def form(config: dict[str, Any]) -> Any:
        if request.param == "object":
            return config
        if request.param == "JSON":
            return json.dumps(config)
        answer = gateway.post("/v1/configs", {"name": "routing", "config": config}, key=ADMIN_KEY)
        made.append(answer.json()["data"]["slug"])
        return made[-1]

    yield form
    for slug in made:
        gateway.request("DELETE", f"/v1/configs/{slug}", key=ADMIN_KEY)


def where(headers: dict[str, str]) -> str:
    """The JSON path of the target that answered."""
    return headers["last-used-option-index"]


def test_metadata_decides(chat: Chat, given: Callable[[dict[str, Any]], Any]) -> None:
    condition = {"query": {"metadata.plan": {"$in": ["paid", "trial"]}}, "then": "good"}
    config = given(
        {
            "strategy": {"mode": "conditional", "conditions": [condition], "default": "cheap"},
            "targets": [{"name": "cheap", **OPENAI}, {"name": "good", **ANTHROPIC}],
        }
    )
    paid, free = chat(config, {"plan": "paid"}), chat(config, {"plan": "none"})
    assert (where(paid), paid["provider"]) == ("config.targets[1]", "anthropic")
    assert (where(free), free["provider"]) == ("config.targets[0]", "openai")


def test_users_stick_to_their_target(chat: Chat, given: Callable[[dict[str, Any]], Any]) -> None:
    sticky = {"enabled": True, "hash_fields": ["metadata._user"]}
    config = given(
        {
            "strategy": {"mode": "loadbalance", "sticky": sticky},
            "targets": [{"name": "a", **OPENAI}, {"name": "b", **ANTHROPIC}],
        }
    )
    assert where(chat(config, {"_user": "u1"})) == where(chat(config, {"_user": "u1"}))


def test_a_failing_target_is_left_out(chat: Chat, given: Callable[[dict[str, Any]], Any], upstream: Upstream) -> None:
    # Breakers belong to a target and their rules: rules of its own give each run a fresh one.
    breaker = {"failure_threshold": 2, "cooldown_interval": 60_000 + next(_numbers)}
    config = given({"strategy": {"mode": "fallback", "cb_config": breaker}, "targets": [DOWN, OPENAI]})
    for _ in range(3):
        assert where(chat(config, {})) == "config.targets[1]"
    assert [record.status for record in upstream.requests()] == [503, 200, 503, 200, 200]


def test_the_hedge_answers_in_the_place_of_a_slow_target(
    chat: Chat, given: Callable[[dict[str, Any]], Any], upstream: Upstream
) -> None:
    config = given({"strategy": {"mode": "hedge", "hedge": {"delay": 50}}, "targets": [SLOW, ANTHROPIC]})
    headers = chat(config, {})
    assert (where(headers), headers["provider"]) == ("config.targets[1]", "anthropic")
    upstream.until(lambda stats: stats["open"] == 0)


def test_nested_targets_are_named_by_their_path(chat: Chat, given: Callable[[dict[str, Any]], Any]) -> None:
    inner = {"strategy": {"mode": "fallback"}, "targets": [DOWN, ANTHROPIC]}
    headers = chat(given({"strategy": {"mode": "loadbalance"}, "targets": [inner]}), {})
    assert where(headers) == "config.targets[0].targets[1]"
    assert headers["retry-attempt-count"] == "0"


def test_retries_are_counted(chat: Chat) -> None:
    # Not in every form: a target with so few requests may be tried again three times in ten seconds.
    model = f"gpt-4o::status=503,fail_first=1,key=routing{next(_numbers)}"
    config = {
        "virtual_key": OPENAI_SLUG,
        "retry": {"attempts": 2, "base_wait": 10},
        "override_params": {"model": model},
    }
    assert chat(config, {})["retry-attempt-count"] == "1"
