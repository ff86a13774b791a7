"""Versions of saved configs: looked at, compared, and gone back to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.errors import Refused
from tests.proxy.admin.gateway import Gateway

FIRST = {
    "retry": {"attempts": 2},
    "targets": [{"virtual_key": "openai-file"}, {"provider": "openai", "api_key": "sk-canary-1"}],
    "strategy": {"mode": "fallback"},
}
SECOND = {
    "strategy": {"mode": "fallback", "on_status_codes": [429]},
    "targets": [{"virtual_key": "openai-file", "weight": 2}, {"provider": "openai", "api_key": "sk-canary-2"}],
    "cache": {"mode": "simple"},
}


async def _saved(gateway: Gateway, *configs: Any) -> str:
    first, *others = configs
    slug: str = (await gateway.call("POST", "/v1/configs", {"name": "a", "config": first}))["slug"]
    for config in others:
        await gateway.call("PUT", f"/v1/configs/{slug}", {"config": config})
    return slug


async def _refused(gateway: Gateway, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await gateway.call(method, path, body)
    return caught.value


async def test_a_version_is_shown_by_number_and_by_id(gateway: Gateway) -> None:
    slug = await _saved(gateway, FIRST, SECOND)
    one = await gateway.call("GET", f"/v1/configs/{slug}/versions/1")
    assert one["config"]["retry"] == {"attempts": 2}
    assert await gateway.call("GET", f"/v1/configs/{slug}/versions/{one['version_id']}") == one
    error = await _refused(gateway, "GET", f"/v1/configs/{slug}/versions/7")
    assert (error.status, error.param) == (404, "version")
    assert "2, 1" in error.message
    assert "canary" not in json.dumps(one)


async def test_a_difference_names_every_place_and_no_secret(gateway: Gateway) -> None:
    slug = await _saved(gateway, FIRST, SECOND)
    found = await gateway.call("GET", f"/v1/configs/{slug}/diff?from=1&to=2")
    assert (found["from"]["version"], found["to"]["version"]) == (1, 2)
    changes = {(change["op"], change["path"]): change for change in found["changes"]}
    assert set(changes) == {
        ("remove", "config.retry"),
        ("replace", "config.targets[1].api_key"),
        ("add", "config.targets[0].weight"),
        ("add", "config.strategy.on_status_codes"),
        ("add", "config.cache"),
    }
    assert changes[("add", "config.targets[0].weight")]["new"] == 2
    assert changes[("replace", "config.targets[1].api_key")]["old"] == "********"
    assert "canary" not in json.dumps(found)
    assert await gateway.call("GET", f"/v1/configs/{slug}/diff") == found


async def test_a_config_with_one_version_differs_from_nothing(gateway: Gateway) -> None:
    slug = await _saved(gateway, FIRST)
    assert (await gateway.call("GET", f"/v1/configs/{slug}/diff"))["changes"] == []
    assert (await gateway.call("GET", "/v1/configs/pc-file/diff"))["changes"] == []


async def test_going_back_makes_a_new_version_with_the_old_content(gateway: Gateway) -> None:
    slug = await _saved(gateway, FIRST, SECOND)
    answer = await gateway.call("POST", f"/v1/configs/{slug}/rollback", {"version": 1})
    assert answer["version"] == 3
    (row,) = (await gateway.store.rows()).configs
    assert row.config == FIRST
    assert row.version_id == answer["version_id"]
    assert (await gateway.call("GET", f"/v1/configs/{slug}/versions"))["total"] == 3
    # Without a name: the one before, which undoes it.
    await gateway.call("POST", f"/v1/configs/{slug}/rollback")
    assert (await gateway.store.rows()).configs[0].config == SECOND
    assert gateway.applied == 4


async def test_going_back_is_refused_where_there_is_no_way(gateway: Gateway) -> None:
    slug = await _saved(gateway, FIRST)
    path = f"/v1/configs/{slug}/rollback"
    assert (await _refused(gateway, "POST", path)).status == 409
    assert (await _refused(gateway, "POST", path, {"version": 9})).status == 404
    assert (await _refused(gateway, "POST", path, {"versoin": 9})).status == 400
    assert (await _refused(gateway, "POST", path, {"version": 1, "version_id": "x"})).status == 400
    assert (await _refused(gateway, "POST", "/v1/configs/pc-file/rollback", {"version": 1})).status == 409
    assert (await _refused(gateway, "POST", "/v1/configs/pc-none/rollback", {"version": 1})).status == 404


async def test_what_is_odd_about_a_config_is_said_when_it_is_saved(gateway: Gateway) -> None:
    config = {"virtual_key": "openai-file", "retyr": {}, "cache": {"mode": "semantic"}}
    answer = await gateway.call("POST", "/v1/configs", {"name": "a", "config": config})
    assert len(answer["warnings"]) == 2
    assert answer["warnings"][0] == "config.retyr: unknown key; did you mean 'retry'?"
    assert answer["warnings"][1].startswith("config.cache.mode: only equal questions")
