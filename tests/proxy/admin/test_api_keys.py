"""API keys over the admin API: shown once, hashed, rotated with an overlap, and no more than their maker's rights."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest

from proxy.errors import Refused
from proxy.ports import ApiKeyRow
from proxy.scopes import expand
from tests.proxy.admin.gateway import Gateway

PATH = "/v1/api-keys/workspace/service"
BODY = {"name": "team-a", "scopes": ["completions.write"]}


async def created(gateway: Gateway, **body: Any) -> tuple[str, str]:
    answer = await gateway.call("POST", PATH, {**BODY, **body})
    return answer["id"], answer["key"]


async def row(gateway: Gateway, id: str) -> ApiKeyRow:
    return next(row for row in (await gateway.store.rows()).api_keys if row.id == id)


async def refused(gateway: Gateway, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await gateway.call(method, path, body)
    return caught.value


async def test_the_text_of_a_key_is_shown_once_and_only_its_hash_is_kept(gateway: Gateway) -> None:
    answer = await gateway.call("POST", PATH, BODY)
    token = answer["key"]
    assert answer["object"] == "api-key"
    assert re.fullmatch(r"lw-[A-Za-z0-9_-]{49}", token)
    assert (await row(gateway, answer["id"])).digest == sha256(token.encode()).hexdigest()
    assert token not in str(await gateway.call("GET", f"/v1/api-keys/{answer['id']}"))
    assert token not in str(await gateway.call("GET", "/v1/api-keys"))
    assert token not in repr(await gateway.store.rows())


async def test_what_the_sdks_send_is_taken_and_read_back(gateway: Gateway) -> None:
    body = {
        "type": "workspace",
        "sub-type": "service",
        "name": "team-a",
        "description": "of team a",
        "workspace_id": "ws",
        "user_id": "u",
        "rate_limits": [{"type": "requests", "unit": "rpm", "value": 10}],
        "usage_limits": {"credit_limit": 5, "periodic_reset": "weekly", "alert_threshold": 4},
        "scopes": ["completions.write", "logs.view"],
        "defaults": {"metadata": {"team": "a", "level": 3}, "config_id": "pc-file", "allow_config_override": False},
        "alert_emails": ["a@example.com"],
        "expires_at": "2031-01-01T00:00:00Z",
        "rotation_policy": {"rotation_period": "monthly", "key_transition_period_ms": 60000},
    }
    id = (await gateway.call("POST", PATH, body))["id"]
    view = await gateway.call("GET", f"/v1/api-keys/{id}")
    assert view["type"] == "workspace-service"
    assert view["status"] == "active"
    assert view["defaults"] == {
        "metadata": {"team": "a", "level": "3"},
        "config_id": "pc-file",
        "allow_config_override": False,
    }
    assert view["usage_limits"] == {"type": "cost", **body["usage_limits"]}  # type: ignore[dict-item]
    for name in ("name", "description", "workspace_id", "user_id", "rate_limits", "scopes", "alert_emails"):
        assert view[name] == body[name]
    assert view["rotation_policy"]["rotation_period"] == "monthly"
    assert view["expires_at"] == "2031-01-01T00:00:00.000Z"
    assert "key" not in view


async def test_a_key_of_any_type_can_be_made_and_unknown_types_are_refused(gateway: Gateway) -> None:
    id = (await gateway.call("POST", "/v1/api-keys/organisation/user", BODY))["id"]
    assert (await gateway.call("GET", f"/v1/api-keys/{id}"))["type"] == "organisation-user"
    assert (await gateway.call("POST", "/v1/api-keys", BODY))["key"]
    assert (await refused(gateway, "POST", "/v1/api-keys/workspce/service", BODY)).param == "type"
    assert (await refused(gateway, "POST", "/v1/api-keys/workspace/robot", BODY)).param == "sub-type"


async def test_a_key_text_of_ones_own_is_taken_once(gateway: Gateway) -> None:
    id, token = await created(gateway, key="my/own+key==")
    assert token == "my/own+key=="
    assert (await row(gateway, id)).digest == sha256(b"my/own+key==").hexdigest()
    error = await refused(gateway, "POST", PATH, {**BODY, "key": "my/own+key=="})
    assert (error.status, error.param) == (409, "key")
    assert "my/own" not in error.message


async def test_a_hash_is_taken_instead_of_a_text(gateway: Gateway) -> None:
    id, token = await created(gateway, hash="sha256:" + "AB" * 32)
    assert token is None
    assert (await row(gateway, id)).digest == "ab" * 32
    assert (await refused(gateway, "POST", PATH, {**BODY, "hash": "sha256:" + "00" * 32})).status == 409
    assert (await refused(gateway, "POST", PATH, {**BODY, "hash": "md5:x"})).param == "hash"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"nme": "x"}, "nme", "did you mean 'name'"),
        ({"scopes": []}, "scopes", "at least one"),
        ({"scopes": ["completion.write"]}, "scopes[0]", "did you mean 'completions.write'"),
        ({"defaults": {"config": "x"}}, "defaults.config", "did you mean 'config_id'"),
        ({"defaults": {"config_id": "pc-fiel"}}, "config", "did you mean 'pc-file'"),
        ({"virtual_keys": ["openai-flie"]}, "virtual_keys", "did you mean 'openai-file'"),
        ({"key": "short"}, "key", "at least 8"),
        ({"key": "with space at end "}, "key", "printable"),
        ({"key": "with\nnewline"}, "key", "printable"),
        ({"key": "Bearer abcdefgh"}, "key", "without 'Bearer'"),
        ({"metadata": {"a": []}}, "metadata[...]", "expected"),
        ({"expires_at": -5}, "expires_at", "Unix seconds"),
        ({"rotation_policy": {"period": 1}}, "rotation_policy.period", "unknown field"),
    ],
)
async def test_a_faulty_body_is_refused_with_the_path_of_the_fault(
    gateway: Gateway, body: dict[str, Any], param: str, says: str
) -> None:
    error = await refused(gateway, "POST", PATH, {**BODY, **body})
    assert (error.status, error.param) == (400, param)
    assert says in error.message
    assert gateway.applied == 0


async def test_a_rotated_key_has_two_texts_for_a_while(gateway: Gateway) -> None:
    id, old = await created(gateway)
    answer = await gateway.call("POST", f"/v1/api-keys/{id}/rotate", {"key_transition_period_ms": 90_500})
    stored = await row(gateway, id)
    assert answer["id"] == id
    assert stored.digest == sha256(answer["key"].encode()).hexdigest()
    assert stored.previous_digest == sha256(old.encode()).hexdigest()
    assert stored.previous_expires_at is not None
    assert stored.previous_expires_at - stored.updated_at == 91
    view = await gateway.call("GET", f"/v1/api-keys/{id}")
    assert view["key_transition_expires_at"] == answer["key_transition_expires_at"]


@pytest.mark.parametrize(
    ("policy", "body", "seconds"),
    [
        (None, {}, 1800),
        ({"key_transition_period_ms": 60_000}, {}, 60),
        ({"key_transition_period_ms": 60_000}, {"key_transition_period_ms": 5000}, 5),
        (None, {"key_transition_period_ms": 0}, None),
    ],
)
async def test_the_overlap_is_the_calls_or_the_policys_or_half_an_hour(
    gateway: Gateway, policy: Any, body: Any, seconds: int | None
) -> None:
    id, _ = await created(gateway, rotation_policy=policy)
    await gateway.call("POST", f"/v1/api-keys/{id}/rotate", body)
    stored = await row(gateway, id)
    if seconds is None:
        assert (stored.previous_digest, stored.previous_expires_at) == (None, None)
    else:
        assert stored.previous_expires_at == stored.updated_at + seconds


async def test_the_path_of_a_rotation_is_not_taken_for_a_type_of_key(gateway: Gateway) -> None:
    assert (await refused(gateway, "POST", "/v1/api-keys/nobody/rotate", {})).status == 404


async def test_an_update_changes_what_it_names(gateway: Gateway) -> None:
    id, _ = await created(gateway, virtual_keys=["@openai-file"], config="pc-file", description="d")
    await gateway.call("PUT", f"/v1/api-keys/{id}", {"id": id, "name": "b", "defaults": {"config_id": None}})
    stored = await row(gateway, id)
    assert (stored.name, stored.config, stored.description, stored.virtual_keys) == ("b", None, "d", ("openai-file",))
    assert (await refused(gateway, "PUT", f"/v1/api-keys/{id}", {"id": "other"})).param == "id"
    assert (await refused(gateway, "PUT", f"/v1/api-keys/{id}", {"key": "something-new"})).param == "key"


async def test_a_deleted_key_is_gone(gateway: Gateway) -> None:
    id, _ = await created(gateway)
    assert await gateway.call("DELETE", f"/v1/api-keys/{id}", {"id": id}) == {"success": True}
    assert (await refused(gateway, "GET", f"/v1/api-keys/{id}")).status == 404
    assert gateway.applied == 2


async def test_keys_of_the_file_are_listed_and_not_changed(gateway: Gateway) -> None:
    listed = (await gateway.call("GET", "/v1/api-keys?current_page=0"))["data"]
    assert [(item["id"], item["creation_mode"]) for item in listed] == [("file-key", "file")]
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/rotate")):
        error = await refused(gateway, method, f"/v1/api-keys/file-key{path}", {})
        assert error.status == 409


async def test_keys_are_listed_by_workspace(gateway: Gateway) -> None:
    await created(gateway, workspace_id="a")
    await created(gateway, workspace_id="b")
    listed = await gateway.call("GET", "/v1/api-keys?workspace_id=a&page_size=10")
    assert [item["workspace_id"] for item in listed["data"]] == [None, "a"]


async def test_nobody_grants_administrative_rights_they_lack(gateway: Gateway) -> None:
    admin_id, _ = await created(gateway, scopes=["admin"])
    plain_id, _ = await created(gateway)
    gateway.scopes = expand(["workspace_service_api_keys.create", "workspace_service_api_keys.update"])
    for method, path, body in (
        ("POST", PATH, {**BODY, "scopes": ["admin"]}),
        ("POST", PATH, {**BODY, "scopes": ["virtual_keys.create"]}),
        ("PUT", f"/v1/api-keys/{plain_id}", {"scopes": ["configs.delete"]}),
        ("PUT", f"/v1/api-keys/{admin_id}", {"scopes": ["inference"]}),
        ("POST", f"/v1/api-keys/{admin_id}/rotate", {}),
        ("DELETE", f"/v1/api-keys/{admin_id}", None),
    ):
        error = await refused(gateway, method, path, body)
        assert error.status == 403, (method, path)
    await created(gateway, scopes=["inference", "workspace_service_api_keys.create"])
    await gateway.call("POST", f"/v1/api-keys/{plain_id}/rotate", {})
