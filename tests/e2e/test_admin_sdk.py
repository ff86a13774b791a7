"""Administration with the methods of Portkey's own SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import HELLO, SAID
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, OPENAI_SLUG, Gateway, Upstream, standard

SECRET = "sk-made-by-the-sdk-1234"


@pytest.fixture
def admin(portkey: Make) -> Any:
    """A Portkey client with the admin key."""
    return portkey(api_key=ADMIN_KEY)


@pytest.fixture
def stored(admin: Any, upstream: Upstream) -> Iterator[str]:
    """The slug of a virtual key made by the SDK."""
    made = admin.virtual_keys.create(
        name="Open AI key", provider="openai", key=SECRET, note="mine", custom_host=f"{upstream.url}/v1"
    )
    yield made.slug
    admin.virtual_keys.delete(slug=made.slug)


def test_a_virtual_key_is_made_used_at_once_changed_and_deleted(admin: Any, portkey: Make, upstream: Upstream) -> None:
    made = admin.virtual_keys.create(
        name="My OpenAI: prod", provider="openai", key=SECRET, note="first", custom_host=f"{upstream.url}/v1"
    )
    assert re.fullmatch(r"my-openai-prod-[0-9a-f]{6}", made.slug)
    assert made.object == "virtual-key"

    client = portkey(virtual_key=made.slug)
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content == SAID
    assert upstream.last.credential == SECRET

    shown = admin.virtual_keys.retrieve(slug=made.slug)
    assert (shown.name, shown.note, shown.status) == ("My OpenAI: prod", "first", "active")
    assert shown.ai_provider_name == "openai"
    assert SECRET not in str(shown)

    listed = admin.virtual_keys.list()
    assert made.slug in {item["slug"] for item in listed.data}
    assert SECRET not in str(listed)

    admin.virtual_keys.update(slug=made.slug, key="sk-second", note="second")
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.last.credential == "sk-second"
    assert admin.virtual_keys.retrieve(slug=made.slug).note == "second"

    admin.virtual_keys.delete(slug=made.slug)
    with pytest.raises(Exception, match="Error code: 400"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    with pytest.raises(Exception, match="404"):
        admin.virtual_keys.retrieve(slug=made.slug)


def test_an_api_key_is_made_used_at_once_changed_and_deleted(
    admin: Any, portkey: Make, stored: str, upstream: Upstream
) -> None:
    made = admin.api_keys.create(
        type="workspace", sub_type="service", name="made", scopes=["completions.write"], description="first"
    )
    assert made.key
    assert made.id
    client = portkey(api_key=made.key, virtual_key=stored)
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content == SAID

    shown = admin.api_keys.retrieve(id=made.id)
    assert (shown.name, shown.scopes, shown.status) == ("made", ["completions.write"], "active")
    assert made.key not in str(shown)
    assert made.id in {item["id"] for item in admin.api_keys.list().data}

    with pytest.raises(Exception, match=r"403|virtual_keys\.list"):
        portkey(api_key=made.key).virtual_keys.list()
    admin.api_keys.update(id=made.id, name="renamed", scopes=["virtual_keys.list"])
    assert admin.api_keys.retrieve(id=made.id).name == "renamed"
    assert portkey(api_key=made.key).virtual_keys.list().data
    with pytest.raises(Exception, match="Error code: 403"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)

    admin.api_keys.delete(id=made.id)
    with pytest.raises(Exception, match="Error code: 401"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_a_config_is_made_used_at_once_changed_and_deleted(admin: Any, portkey: Make, upstream: Upstream) -> None:
    made = admin.configs.create(name="mine", config={"virtual_key": OPENAI_SLUG})
    slug = made.slug
    assert slug.startswith("pc-mine-")
    client = portkey(config=slug)
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.last.path == "/v1/chat/completions"

    shown = admin.configs.retrieve(slug=slug)
    assert shown.data["config"] == {"virtual_key": OPENAI_SLUG}
    assert slug in {item["slug"] for item in admin.configs.list().data}

    admin.configs.update(slug=slug, config={"virtual_key": ANTHROPIC_SLUG})
    client.chat.completions.create(model="claude-sonnet-4-5", messages=HELLO)
    assert upstream.last.path == "/v1/messages"

    admin.configs.delete(slug=slug)
    with pytest.raises(Exception, match="Error code: 400"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_an_integration_and_its_provider_are_managed(admin: Any, portkey: Make, upstream: Upstream) -> None:
    integration = admin.integrations.create(
        name="Open AI",
        ai_provider_id="openai",
        key=SECRET,
        slug="made-integration",
        configurations={"custom_host": f"{upstream.url}/v1"},
    )
    assert integration.slug == "made-integration"
    provider = admin.providers.create(name="Made provider", integration_id="made-integration", slug="made-provider")
    assert provider.slug == "made-provider"

    client = portkey(provider="@made-provider")
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content == SAID
    assert upstream.last.credential == SECRET

    assert admin.integrations.retrieve(slug="made-integration").ai_provider_id == "openai"
    assert admin.providers.retrieve(slug="made-provider").integration_id == "made-integration"
    assert "made-integration" in {item.slug for item in admin.integrations.list().data}
    assert "made-provider" in {item.slug for item in admin.providers.list().data}

    admin.integrations.update(slug="made-integration", key="sk-second")
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.last.credential == "sk-second"

    admin.integrations.models.update(
        slug="made-integration", allow_all_models=False, models=[{"slug": "gpt-4o-mini", "enabled": True}]
    )
    assert [model.slug for model in admin.integrations.models.list(slug="made-integration").models] == ["gpt-4o-mini"]
    with pytest.raises(Exception, match="Error code: 412"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)

    admin.providers.update(slug="made-provider", name="Renamed", note="n")
    assert admin.providers.retrieve(slug="made-provider").name == "Renamed"
    admin.providers.delete(slug="made-provider")
    admin.integrations.delete(slug="made-integration")
    with pytest.raises(Exception, match="Error code: 400"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_what_the_file_names_cannot_be_changed(admin: Any) -> None:
    with pytest.raises(Exception, match="409"):
        admin.virtual_keys.update(slug=OPENAI_SLUG, note="mine")
    with pytest.raises(Exception, match="409"):
        admin.virtual_keys.delete(slug=OPENAI_SLUG)
    with pytest.raises(Exception, match="409"):
        admin.configs.update(slug="pc-openai", name="mine")


def test_wrong_input_is_refused_with_its_place(admin: Any) -> None:
    with pytest.raises(Exception, match=r"opnai.*openai"):
        admin.virtual_keys.create(name="x", provider="opnai", key="k")
    with pytest.raises(Exception, match="open-ai-key-6317bd"):
        admin.configs.create(name="x", config={"virtual_key": "open-ai-key-6317bd"})
    with pytest.raises(Exception, match=r"completion\.write"):
        admin.api_keys.create(type="workspace", sub_type="service", name="x", scopes=["completion.write"])


def test_what_the_api_makes_outlives_a_restart(launch: Any, upstream: Upstream) -> None:
    gateway: Gateway = launch(standard(upstream.url))
    made = gateway.admin(
        "POST",
        "/v1/virtual-keys",
        {"name": "kept", "provider": "openai", "key": SECRET, "custom_host": f"{upstream.url}/v1"},
    ).json()
    key = gateway.admin("POST", "/v1/api-keys/workspace/service", {"name": "kept", "scopes": ["inference"]}).json()
    gateway.stop()
    again: Gateway = launch(standard(upstream.url), data=gateway.data)
    answer = again.post("/v1/chat/completions", {"model": f"@{made['slug']}/gpt-4o", "messages": HELLO}, key=key["key"])
    assert answer.status_code == 200
    assert upstream.last.credential == SECRET
    stored = b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
    assert SECRET.encode() not in stored
    assert key["key"].encode() not in stored
