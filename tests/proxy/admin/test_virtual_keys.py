"""Virtual keys over the admin API: the SDKs' shapes, every provider field, and no secret in any answer."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from proxy.config.fields import PROVIDER_FIELDS
from proxy.errors import Refused
from proxy.ports import VirtualKeyRow
from tests.proxy.admin.gateway import Gateway

CANARY = "sk-canary-77"
OPENAI = {"name": "OpenAI Prod", "provider": "openai", "key": CANARY}


async def created(gateway: Gateway, **body: Any) -> str:
    slug: str = (await gateway.call("POST", "/v1/virtual-keys", {**OPENAI, **body}))["slug"]
    return slug


async def row(gateway: Gateway, slug: str) -> VirtualKeyRow:
    return next(row for row in (await gateway.store.rows()).virtual_keys if row.slug == slug)


async def refused(gateway: Gateway, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await gateway.call(method, path, body)
    return caught.value


async def test_a_slug_is_the_name_and_six_hexadecimal_digits(gateway: Gateway) -> None:
    answer = await gateway.call("POST", "/v1/virtual-keys", OPENAI)
    assert answer["success"] is True
    assert answer["slug"] == answer["data"]["slug"]
    assert re.fullmatch(r"openai-prod-[0-9a-f]{6}", answer["slug"])
    assert (await row(gateway, answer["slug"])).key.reveal() == CANARY


async def test_a_created_key_is_there_at_once_and_the_snapshot_is_made_anew(gateway: Gateway) -> None:
    slug = await created(gateway, slug="mine")
    assert gateway.applied == 1
    assert (await gateway.call("GET", f"/v1/virtual-keys/{slug}"))["name"] == "OpenAI Prod"
    assert (await gateway.call("GET", "/v1/virtual-keys"))["total"] == 2


async def test_what_the_sdks_send_is_taken(gateway: Gateway) -> None:
    body = {
        "name": "Azure",
        "provider": "openai",
        "key": CANARY,
        "note": None,
        "apiVersion": "2024-06-01",
        "resourceName": "res",
        "deploymentName": "dep",
        "deploymentConfig": [{"apiVersion": "2024-06-01", "alias": "a", "is_default": True, "deploymentName": "dep-a"}],
        "workspace_id": "ws-1",
        "usage_limits": {"type": "cost", "credit_limit": 10, "alert_threshold": 9, "periodic_reset": "monthly"},
        "rate_limits": [{"type": "requests", "unit": "rpm", "value": 100}],
        "expires_at": "2030-01-01T00:00:00Z",
    }
    slug = (await gateway.call("POST", "/v1/virtual-keys", body))["slug"]
    stored = await row(gateway, slug)
    assert stored.fields == {
        "api_version": "2024-06-01",
        "resource_name": "res",
        "deployment_id": "dep",
        "deployments": [{"api_version": "2024-06-01", "alias": "a", "is_default": True, "deployment_id": "dep-a"}],
    }
    view = await gateway.call("GET", f"/v1/virtual-keys/{slug}")
    assert view["usage_limits"] == body["usage_limits"]
    assert view["rate_limits"] == body["rate_limits"]
    assert view["expires_at"] == "2030-01-01T00:00:00.000Z"
    assert view["workspace_id"] == "ws-1"
    assert view["object"] == "virtual-key"
    assert view["status"] == "active"
    budget = {"usd": 10.0, "window": "monthly", "alert_threshold": 9.0}
    assert view["limits"] == {"requests": {"per_minute": 100}, "budget": budget}


async def test_our_own_fields_are_taken_too(gateway: Gateway) -> None:
    slug = await created(
        gateway,
        slug="own",
        custom_host="http://10.0.0.7:8000/v1",
        models=["gpt-5*"],
        aliases={"fast": "gpt-5-mini"},
        default_model="gpt-5",
        completions_mode="legacy",
        custom_headers={"X-Team": "red"},
        limits={"concurrency": 64, "queue": {"size": 8, "timeout": "2s"}, "tokens": {"per_minute": 200000}},
    )
    stored = await row(gateway, slug)
    assert stored.custom_host == "http://10.0.0.7:8000/v1"
    assert stored.models == ("gpt-5*",)
    assert stored.aliases == {"fast": "gpt-5-mini"}
    assert stored.default_model == "gpt-5"
    assert stored.completions_mode == "legacy"
    assert stored.custom_headers == {"X-Team": "red"}
    assert stored.limits.concurrency == 64
    assert stored.limits.queue.timeout == 2.0


@pytest.mark.parametrize("name", [name for name, kind in PROVIDER_FIELDS.items() if kind == "text"])
async def test_every_provider_field_is_stored_and_shown_unless_it_is_secret(gateway: Gateway, name: str) -> None:
    slug = await created(gateway, **{name: f"{CANARY}-value"})
    assert (await row(gateway, slug)).fields == {name: f"{CANARY}-value"}
    shown = (await gateway.call("GET", f"/v1/virtual-keys/{slug}"))["model_config"][name]
    secret = any(word in name for word in ("secret", "token", "private", "passphrase", "service_account"))
    assert shown == (f"********:/{name}" if secret else f"{CANARY}-value")


async def test_no_secret_is_in_any_answer_or_log_line(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {
        "custom_headers": {"authorization": f"{CANARY}-h"},
        "vertex_service_account_json": {"private_key": f"{CANARY}-v"},
        "aws_secret_access_key": f"{CANARY}-a",
    }
    slug = (await gateway.call("POST", "/v1/virtual-keys", {**OPENAI, **secret, "slug": "mine"}))["slug"]
    answers = [
        await gateway.call("PUT", f"/v1/virtual-keys/{slug}", {"name": "x"}),
        await gateway.call("GET", f"/v1/virtual-keys/{slug}"),
        await gateway.call("GET", "/v1/virtual-keys"),
        await gateway.call("GET", f"/v1/providers/{slug}"),
        await gateway.call("GET", "/v1/providers"),
        await gateway.call("GET", f"/v1/integrations/{slug}"),
        await gateway.call("GET", "/v1/integrations"),
        await gateway.call("DELETE", f"/v1/virtual-keys/{slug}"),
    ]
    assert "canary" not in json.dumps(answers)
    assert "canary" not in caplog.text
    assert "canary" not in repr((await gateway.store.rows()).virtual_keys)


async def test_each_change_leaves_an_audit_line(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="loopway.audit")
    slug = await created(gateway, slug="mine")
    await gateway.call("PUT", f"/v1/virtual-keys/{slug}", {"note": "n"})
    await gateway.call("DELETE", f"/v1/virtual-keys/{slug}")
    assert [record.getMessage() for record in caplog.records] == [
        f"virtual_keys.{verb} mine by key admin-key" for verb in ("create", "update", "delete")
    ]
    assert gateway.applied == 3


async def test_an_update_changes_what_it_names_and_null_clears(gateway: Gateway) -> None:
    slug = await created(
        gateway, models=["a"], note="n", openai_project="p", openai_organization="o", limits={"concurrency": 3}
    )
    await gateway.call("PUT", f"/v1/virtual-keys/{slug}", {"models": None, "openai_project": None, "key": "sk-new"})
    stored = await row(gateway, slug)
    assert stored.models is None
    assert stored.note == "n"
    assert stored.fields == {"openai_organization": "o"}
    assert stored.key.reveal() == "sk-new"
    assert stored.limits.concurrency == 3
    await gateway.call(
        "PUT", f"/v1/virtual-keys/{slug}", {"rate_limits": [{"type": "tokens", "unit": "rpd", "value": 5}]}
    )
    stored = await row(gateway, slug)
    assert stored.limits.concurrency == 3
    assert stored.limits.tokens is not None
    assert stored.limits.tokens.per_day == 5


async def test_a_mask_that_comes_back_keeps_the_secret(gateway: Gateway) -> None:
    slug = await created(
        gateway, aws_secret_access_key="s1", aws_region="eu", custom_headers={"x-a.b~c": "h1", "y": "h2"}
    )
    view = (await gateway.call("GET", f"/v1/virtual-keys/{slug}"))["model_config"]
    view["aws_region"] = "us"
    await gateway.call("PUT", f"/v1/virtual-keys/{slug}", {"model_config": view})
    stored = await row(gateway, slug)
    assert stored.fields == {"aws_secret_access_key": "s1", "aws_region": "us"}
    assert stored.custom_headers == {"x-a.b~c": "h1", "y": "h2"}


@pytest.mark.parametrize(
    "body",
    [
        {"aws_region": "********:/aws_secret_access_key"},
        {"openai_project": "********:/custom_headers/x"},
        {"aws_session_token": "********:/nothing"},
        {"aws_session_token": "********"},
        {"aws_session_token": "********:/aws_region"},
        {"aws_session_token": "********:/custom_headers"},
        {"custom_headers": {"x": "********@1:/custom_headers/x"}},
    ],
)
async def test_a_mask_cannot_be_used_to_see_a_secret(gateway: Gateway, body: dict[str, Any]) -> None:
    slug = await created(gateway, aws_secret_access_key="s1", aws_region="eu", custom_headers={"x": "h"})
    error = await refused(gateway, "PUT", f"/v1/virtual-keys/{slug}", body)
    assert error.status == 400
    assert "mask" in error.message


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"provder": "openai"}, "provder", "did you mean 'provider'"),
        ({"aws_regon": "x"}, "aws_regon", "did you mean 'aws_region'"),
        ({"provider": "opnai"}, "provider", "did you mean 'openai'"),
        ({"name": 5}, "name", "expected `str`"),
        ({"name": " "}, "name", "must not be empty"),
        ({"name": "a\x00b"}, "name", "control characters"),
        ({"slug": "a/b"}, "slug", "letters, digits"),
        ({"slug": "cf"}, "slug", "taken by model names"),
        ({"custom_host": "ftp://x"}, "custom_host", "http://"),
        ({"custom_host": "http://169.254.169.254/"}, "custom_host", "never allowed"),
        ({"custom_host": "https://user:pw@host"}, "custom_host", "credentials"),
        ({"custom_headers": {"bad name": "x"}}, "custom_headers.bad name", "no header name"),
        ({"custom_headers": {"x": "a\r\nb: c"}}, "custom_headers.x", "no header can carry"),
        ({"custom_headers": {"Content-Length": "1"}}, "custom_headers.Content-Length", "belongs to the gateway"),
        ({"models": "gpt"}, "models", "expected `array"),
        ({"aws_region": 5}, "aws_region", "expected string"),
        ({"model_config": 5}, "model_config", "expected an object"),
        ({"model_config": {"aws_regon": "x"}}, "aws_regon", "aws_region"),
        ({"expires_at": "soon"}, "expires_at", "ISO date"),
        ({"status": "archived"}, "status", "invalid enum value"),
        ({"secret_mappings": [{"target_field": "key"}]}, "secret_mappings", "not supported"),
        ({"limits": {"concurency": 1}}, "limits.concurency", "did you mean 'concurrency'"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency", "at least 1"),
        ({"limits": {"requests": {"per_week": 1}}}, "limits.requests.per_week", "unknown field"),
        ({"limits": {"queue": {"timeout": "soon"}}}, "limits.queue.timeout", "duration"),
        ({"limits": {"budget": {"usd": 1, "tokens": 1}}}, "limits.budget", "usd or tokens"),
        ({"limits": {"budget": {"usd": 1, "window": "fortnight"}}}, "limits.budget.window", "daily"),
        ({"limits": {"tokens": {"per_minute": "many"}}}, "limits.tokens.per_minute", "expected `int"),
        ({"usage_limits": {"credit_limt": 1}}, "usage_limits.credit_limt", "did you mean 'credit_limit'"),
        ({"usage_limits": {"credit_limit": 0}}, "usage_limits.credit_limit", "> 0"),
        ({"usage_limits": {"periodic_reset": "weekly", "periodic_reset_days": 3}}, "usage_limits", "not both"),
        ({"rate_limits": [{"type": "requests", "unit": "rpw", "value": 1}]}, "rate_limits[0].unit", "rpd"),
        ({"rate_limits": [{"type": "requests", "unit": "rpm", "value": 1, "x": 1}]}, "rate_limits[0].x", "unknown"),
        ({"rate_limits": [{"type": "requests", "unit": "rpm"}]}, "rate_limits[0]", "value"),
    ],
)
async def test_a_faulty_body_is_refused_with_the_path_of_the_fault(
    gateway: Gateway, body: dict[str, Any], param: str, says: str
) -> None:
    error = await refused(gateway, "POST", "/v1/virtual-keys", {**OPENAI, **body})
    assert error.status == 400
    assert error.param == param
    assert says in error.message
    assert CANARY not in error.message
    assert gateway.applied == 0


@pytest.mark.parametrize("missing", ["name", "provider", "key"])
async def test_what_every_virtual_key_needs_is_asked_for(gateway: Gateway, missing: str) -> None:
    body = {name: value for name, value in OPENAI.items() if name != missing}
    error = await refused(gateway, "POST", "/v1/virtual-keys", body)
    assert (error.status, error.param) == (400, missing)


async def test_a_provider_without_an_address_of_its_own_needs_a_host(gateway: Gateway) -> None:
    error = await refused(gateway, "POST", "/v1/virtual-keys", {"name": "x", "provider": "openai-compatible"})
    assert error.param == "custom_host"
    await gateway.call(
        "POST", "/v1/virtual-keys", {"name": "x", "provider": "openai-compatible", "custom_host": "http://10.0.0.1/v1"}
    )
    await gateway.call("POST", "/v1/virtual-keys", {"name": "local", "provider": "ollama"})


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b'{"name": "\xff"}', b"[" * 100_000, b'{"name": NaN}'])
async def test_a_body_that_is_no_json_object_is_refused(gateway: Gateway, body: bytes) -> None:
    assert (await refused(gateway, "POST", "/v1/virtual-keys", body)).status == 400


async def test_a_slug_is_taken_once_and_the_files_slugs_are_taken_too(gateway: Gateway) -> None:
    await created(gateway, slug="mine")
    for slug in ("mine", "openai-file"):
        error = await refused(gateway, "POST", "/v1/virtual-keys", {**OPENAI, "slug": slug})
        assert (error.status, error.param) == (409, "slug")


async def test_slug_and_provider_never_change(gateway: Gateway) -> None:
    await created(gateway, slug="mine")
    await gateway.call("PUT", "/v1/virtual-keys/mine", {"slug": "mine", "provider": "openai"})
    assert (await refused(gateway, "PUT", "/v1/virtual-keys/mine", {"slug": "x"})).param == "slug"
    assert (await refused(gateway, "PUT", "/v1/virtual-keys/mine", {"provider": "anthropic"})).param == "provider"


async def test_rows_of_the_file_are_listed_and_not_changed(gateway: Gateway) -> None:
    listed = (await gateway.call("GET", "/v1/virtual-keys"))["data"]
    assert [(item["slug"], item["origin"]) for item in listed] == [("openai-file", "file")]
    for method, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        error = await refused(gateway, method, "/v1/virtual-keys/openai-file", body)
        assert error.status == 409
        assert "configuration file" in error.message


async def test_an_unknown_slug_names_the_nearest(gateway: Gateway) -> None:
    for method in ("GET", "PUT", "DELETE"):
        error = await refused(gateway, method, "/v1/virtual-keys/openai-fiel")
        assert error.status == 404
        assert "did you mean 'openai-file'" in error.message


async def test_lists_come_in_pages_when_asked(gateway: Gateway) -> None:
    for index in range(5):
        await created(gateway, slug=f"s{index}")
    first = await gateway.call("GET", "/v1/virtual-keys?page_size=4&current_page=0")
    last = await gateway.call("GET", "/v1/virtual-keys?page_size=4&current_page=1")
    assert (first["object"], first["total"], len(first["data"]), len(last["data"])) == ("list", 6, 4, 2)
    assert len({item["slug"] for item in first["data"] + last["data"]}) == 6
    assert (await refused(gateway, "GET", "/v1/virtual-keys?page_size=0")).param == "page_size"
    assert (await refused(gateway, "GET", "/v1/virtual-keys?current_page=x")).param == "current_page"


async def test_an_expired_key_says_so(gateway: Gateway) -> None:
    slug = await created(gateway, expires_at="2020-01-01")
    assert (await gateway.call("GET", f"/v1/virtual-keys/{slug}"))["status"] == "expired"
