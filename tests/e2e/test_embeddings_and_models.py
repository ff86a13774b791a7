"""Embeddings and the list of models."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.conftest import Make
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, Gateway, Upstream

EMBEDDER = f"@{OPENAI_SLUG}/text-embedding-3-small"


def test_the_sdks_base64_default_becomes_floats(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client().embeddings.create(model=EMBEDDER, input=["one", "two"])
    assert upstream.last.json()["encoding_format"] == "base64"
    assert [item.index for item in answer.data] == [0, 1]
    assert all(len(item.embedding) == 1536 for item in answer.data)
    assert answer.usage.prompt_tokens == 2


def test_floats_and_base64_are_the_same_vector(openai_client: Make) -> None:
    client = openai_client()
    packed = client.embeddings.create(model=EMBEDDER, input="one", dimensions=64).data[0].embedding
    plain = client.embeddings.create(model=EMBEDDER, input="one", dimensions=64, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(packed, abs=1e-6)


def test_embeddings_through_portkey_carry_the_same(portkey: Make, upstream: Upstream) -> None:
    answer = portkey(virtual_key=OPENAI_SLUG).embeddings.create(model="text-embedding-3-small", input="one")
    assert len(answer.data[0].embedding) > 0
    assert upstream.last.path == "/v1/embeddings"


def test_anthropic_has_no_embeddings_and_says_so(openai_client: Make, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError, match="anthropic"):
        openai_client().embeddings.create(model=f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5", input="one")
    assert upstream.requests() == []


def test_models_are_listed_as_slug_and_model(openai_client: Make) -> None:
    found = {model.id for model in openai_client().models.list()}
    assert f"@{OPENAI_SLUG}/gpt-4o" in found
    assert f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5" in found
    assert "@openai-small/gpt-4o-mini" in found
    assert "@openai-small/gpt-4o" not in found
    assert "@anthropic-aliases/claude-2" in found


def test_every_listed_chat_model_can_be_used_as_it_stands(openai_client: Make) -> None:
    client = openai_client()
    listed = [model.id for model in client.models.list() if model.id.startswith(f"@{OPENAI_SLUG}/gpt-4o")]
    assert listed
    for model in listed:
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content


def test_a_key_sees_only_what_it_may_use(openai_client: Make) -> None:
    narrow = {model.id for model in openai_client(api_key="lw-narrow").models.list()}
    assert narrow
    assert all(model.startswith(f"@{OPENAI_SLUG}/") for model in narrow)
    few = {model.id.partition("/")[2] for model in openai_client(api_key="lw-models").models.list()}
    assert few == {"gpt-4o", "gpt-4o-mini"}


def test_the_models_of_one_virtual_key(portkey: Make) -> None:
    listed = portkey(virtual_key="openai-small").models.list()
    assert {model.id for model in listed.data} == {
        "@openai-small/gpt-4o-mini",
        "@openai-small/text-embedding-3-small",
        "@openai-small/text-embedding-3-large",
    }


def test_one_model_is_found_by_the_name_that_the_list_gave_it(openai_client: Make, anthropic_client: Make) -> None:
    name = f"@{OPENAI_SLUG}/gpt-4o"
    assert openai_client().models.retrieve(name).id == name
    assert anthropic_client().models.retrieve(name).display_name == "gpt-4o"
    for hidden in (f"@{OPENAI_SLUG}/other", "@other/gpt-4o"):
        with pytest.raises(openai.NotFoundError):
            openai_client(api_key="lw-narrow").models.retrieve(hidden)


def test_anthropics_sdk_lists_models_too(anthropic_client: Make) -> None:
    page = anthropic_client().models.list()
    assert f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5" in {model.id for model in page.data}


def test_one_model_is_looked_up_with_the_provider(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.get("/v1/models/gpt-4o", headers={"x-portkey-virtual-key": OPENAI_SLUG})
    assert answer.status_code == 200
    assert answer.json()["id"] == "gpt-4o"
    assert upstream.last.path == "/v1/models/gpt-4o"
