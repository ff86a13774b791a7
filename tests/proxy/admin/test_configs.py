"""Saved configs over the admin API: checked when saved, counted in versions, their keys masked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.errors import Refused
from proxy.ports import ConfigRow
from tests.proxy.admin.gateway import Gateway

FALLBACK = {
    "strategy": {"mode": "fallback"},
    "targets": [{"virtual_key": "openai-file"}, {"provider": "openai", "api_key": "sk-canary-1"}],
}


async def created(gateway: Gateway, config: Any = FALLBACK, **body: Any) -> str:
    slug: str = (await gateway.call("POST", "/v1/configs", {"name": "Prod EU", "config": config, **body}))["slug"]
    return slug


async def row(gateway: Gateway, slug: str) -> ConfigRow:
    return next(row for row in (await gateway.store.rows()).configs if row.slug == slug)


async def refused(gateway: Gateway, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await gateway.call(method, path, body)
    return caught.value


async def test_a_saved_config_is_addressed_by_a_slug_of_its_name(gateway: Gateway) -> None:
    answer = await gateway.call("POST", "/v1/configs", {"name": "Prod EU", "config": FALLBACK, "isDefault": 1})
    assert re.fullmatch(r"pc-prod-eu-[0-9a-f]{6}", answer["slug"])
    assert answer["data"]["id"] == answer["id"]
    assert answer["data"]["version_id"] == answer["version_id"]
    stored = await row(gateway, answer["slug"])
    assert stored.config == FALLBACK
    assert stored.is_default
    view = await gateway.call("GET", f"/v1/configs/{answer['slug']}")
    assert view["data"]["slug"] == view["slug"] == answer["slug"]
    assert view["is_default"] == 1
    assert view["object"] == "config"


async def test_both_spellings_of_default_and_a_config_as_text_are_taken(gateway: Gateway) -> None:
    slug = await created(gateway, json.dumps(FALLBACK), is_default=0, workspace_id="w", slug="pc-mine")
    assert slug == "pc-mine"
    assert (await row(gateway, slug)).config == FALLBACK
    assert not (await row(gateway, slug)).is_default


async def test_keys_in_a_config_are_shown_as_masks_which_may_come_back_rearranged(gateway: Gateway) -> None:
    slug = await created(gateway)
    view = (await gateway.call("GET", f"/v1/configs/{slug}"))["config"]
    assert "canary" not in json.dumps([view, await gateway.call("GET", "/v1/configs")])
    view["targets"].reverse()
    await gateway.call("PUT", f"/v1/configs/{slug}", {"config": view})
    assert (await row(gateway, slug)).config["targets"] == list(reversed(FALLBACK["targets"]))  # type: ignore[call-overload]
    error = await refused(gateway, "PUT", f"/v1/configs/{slug}", {"config": view})
    assert (error.status, error.param) == (400, "targets[0].api_key")


@pytest.mark.parametrize("place", ["override_params", "default_params"])
async def test_a_mask_cannot_be_moved_to_where_it_would_be_shown(gateway: Gateway, place: str) -> None:
    slug = await created(gateway)
    mask = (await gateway.call("GET", f"/v1/configs/{slug}"))["config"]["targets"][1]["api_key"]
    config = {"virtual_key": "openai-file", place: {"user": mask, "api_key": mask}}
    error = await refused(gateway, "PUT", f"/v1/configs/{slug}", {"config": config})
    assert (error.status, error.param) == (400, f"{place}.user")
    assert (await refused(gateway, "PUT", f"/v1/configs/{slug}", {"config": {"name": mask}})).param == "name"
    assert (await refused(gateway, "POST", "/v1/configs", {"name": "x", "config": config})).status == 400


async def test_a_changed_config_is_a_new_version(gateway: Gateway) -> None:
    slug = await created(gateway)
    first = (await row(gateway, slug)).version_id
    second = (
        await gateway.call("PUT", f"/v1/configs/{slug}", {"slug": slug, "config": {"cache": {"mode": "simple"}}})
    )["version_id"]
    renamed = (await gateway.call("PUT", f"/v1/configs/{slug}", {"name": "other", "status": "active"}))["version_id"]
    assert first != second == renamed
    versions = await gateway.call("GET", f"/v1/configs/{slug}/versions")
    assert [(item["version"], item["version_id"]) for item in versions["data"]] == [(2, second), (1, first)]
    assert "canary" not in json.dumps(versions)


@pytest.mark.parametrize("path", ["POST", "PUT"])
async def test_a_config_that_cannot_be_used_is_refused_with_all_its_faults(gateway: Gateway, path: str) -> None:
    slug = await created(gateway)
    url = "/v1/configs" if path == "POST" else f"/v1/configs/{slug}"
    config = {"strategy": {"mode": "fallbck"}, "targets": [{"virtual_key": 5}]}
    error = await refused(gateway, path, url, {"name": "x", "config": config})
    assert (error.status, error.message) == (400, "Invalid config passed")
    assert len(error.errors) == 2
    assert error.errors[0].startswith("path: strategy,mode, message: Invalid 'mode' value.")


async def test_a_config_may_only_name_virtual_keys_that_exist(gateway: Gateway) -> None:
    config = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai-fle"}, {"provider": "@other"}]}
    error = await refused(gateway, "POST", "/v1/configs", {"name": "x", "config": config})
    assert error.message.endswith("Following keys are not valid: openai-fle, other; did you mean 'openai-file'?")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x"}, "config"),
        ({"name": "x", "config": "{"}, "config"),
        ({"name": "x", "config": 5}, "config"),
        ({"name": "x", "config": FALLBACK, "is_defult": 1}, "is_defult"),
        ({"name": "x", "config": FALLBACK, "slug": "@x"}, "slug"),
    ],
)
async def test_a_faulty_body_is_refused_with_the_path_of_the_fault(gateway: Gateway, body: Any, param: str) -> None:
    error = await refused(gateway, "POST", "/v1/configs", body)
    assert (error.status, error.param) == (400, param)


async def test_a_config_is_deleted_by_slug_or_id_unless_a_key_relies_on_it(gateway: Gateway) -> None:
    slug = await created(gateway)
    other = await created(gateway)
    key = {"name": "team-a", "scopes": ["inference"], "defaults": {"config_id": slug}}
    await gateway.call("POST", "/v1/api-keys/workspace/service", key)
    error = await refused(gateway, "DELETE", f"/v1/configs/{slug}")
    assert error.status == 409
    assert "team-a" in error.message
    assert await gateway.call("DELETE", f"/v1/configs/{(await row(gateway, other)).id}") == {"success": True}
    assert (await refused(gateway, "GET", f"/v1/configs/{other}")).status == 404


async def test_configs_of_the_file_are_listed_and_not_changed(gateway: Gateway) -> None:
    assert (await gateway.call("GET", "/v1/configs"))["data"][0]["origin"] == "file"
    assert (await gateway.call("GET", "/v1/configs/pc-file/versions"))["total"] == 1
    for method in ("PUT", "DELETE"):
        assert (await refused(gateway, method, "/v1/configs/pc-file", {})).status == 409
    assert (
        await refused(gateway, "POST", "/v1/configs", {"name": "x", "config": FALLBACK, "slug": "pc-file"})
    ).status == 409


async def test_numbers_of_a_config_come_back_as_they_were(gateway: Gateway) -> None:
    text = '{"virtual_key":"openai-file","override_params":{"seed":123456789012345678901234567890,"temperature":1.0}}'
    slug = await created(gateway, text)
    assert json.dumps((await row(gateway, slug)).config, separators=(",", ":")) == text
