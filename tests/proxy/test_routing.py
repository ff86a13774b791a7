"""Where a request goes: which of its many ways to name a target counts."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.types import Dialect
from proxy.config.snapshot import Snapshot
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.routing import resolve
from tests.proxy.test_snapshot import api_key, key_of, made, virtual_key

CONFIGS = {
    "pc-c": {"virtual_key": "in-config"},
    "pc-retry": {"retry": {"attempts": 2}},
    "pc-several": {
        "strategy": {"mode": "fallback"},
        "targets": [{"virtual_key": "in-config"}, {"virtual_key": "in-body"}],
    },
    "pc-passing": {
        "strategy": {"mode": "fallback"},
        "targets": [{"passthrough": True, "retry": {"attempts": 1}}, {"virtual_key": "in-config"}],
    },
}


@pytest.fixture
def snapshot() -> Snapshot:
    slugs = ("in-provider", "in-header", "in-body", "in-query", "in-config")
    return made(
        *(virtual_key(slug) for slug in slugs),
        virtual_key("claims", models=("claimed*",)),
        keys=(
            api_key("defaulted", config="pc-c"),
            api_key("fixed", config="pc-c", allow_config_override=False),
            api_key("narrow", virtual_keys=("in-body",)),
        ),
        configs=CONFIGS,
    )


def ask(
    snapshot: Snapshot, model: str | None = "gpt-4o", query: str = "", token: str = "key", **headers: str
) -> tuple[str, str | None, str]:
    """Slug or provider of the first target, the model that is left, and the path in the config."""
    named = {b"x-portkey-" + name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    named[b"x-portkey-api-key"] = token.encode()
    x = Exchange(None, snapshot, "POST", "/v1/x", query, named, (), "r", "t", 0.0)  # type: ignore[arg-type]
    x.dialect, x.model = Dialect.OPENAI_CHAT, model
    plan = resolve(x, key_of(snapshot, token))
    leaf = plan.root.leaves()[0]
    return leaf.target.slug or leaf.target.provider.name, x.model, leaf.where


PROVIDER = {"provider": "@in-provider"}
HEADER = {"virtual_key": "in-header"}
CONFIG = {"config": "pc-c"}


def test_each_way_alone_reaches_its_target(snapshot: Snapshot) -> None:
    assert ask(snapshot, **PROVIDER) == ("in-provider", "gpt-4o", "config")
    assert ask(snapshot, provider="@in-provider/ignored") == ("in-provider", "gpt-4o", "config")
    assert ask(snapshot, **HEADER) == ("in-header", "gpt-4o", "config")
    assert ask(snapshot, "@in-body/gpt-4o") == ("in-body", "gpt-4o", "config")
    assert ask(snapshot, "@in-body/org/model/with/slashes") == ("in-body", "org/model/with/slashes", "config")
    assert ask(snapshot, None, "model=@in-query/gpt-4o") == ("in-query", "gpt-4o", "config")
    assert ask(snapshot, None, "a=b&model=%40in-query%2Fgpt-4o") == ("in-query", "gpt-4o", "config")
    assert ask(snapshot, **CONFIG) == ("in-config", "gpt-4o", "config")
    assert ask(snapshot, config='{"virtual_key":"in-config"}') == ("in-config", "gpt-4o", "config")
    assert ask(snapshot, "claimed-1") == ("claims", "claimed-1", "config")


def test_the_first_in_the_fixed_order_wins_and_the_models_prefix_goes_in_any_case(snapshot: Snapshot) -> None:
    model, query = "@in-body/gpt-4o", "model=@in-query/o1"
    assert ask(snapshot, model, query, **PROVIDER, **HEADER, **CONFIG) == ("in-config", "gpt-4o", "config")
    assert ask(snapshot, model, query, **PROVIDER, **HEADER) == ("in-provider", "gpt-4o", "config")
    assert ask(snapshot, model, query, **HEADER) == ("in-header", "gpt-4o", "config")
    assert ask(snapshot, model, query) == ("in-body", "gpt-4o", "config")
    assert ask(snapshot, "claimed-1", query) == ("in-query", "claimed-1", "config")


@pytest.mark.parametrize("model", ["@cf/meta/llama-3", "@hf/thebloke/x"])
def test_cloudflares_model_names_are_no_slugs(snapshot: Snapshot, model: str) -> None:
    assert ask(snapshot, model, **HEADER) == ("in-header", model, "config")


def test_a_keys_default_config_counts_unless_the_request_brings_its_own(snapshot: Snapshot) -> None:
    assert ask(snapshot, token="defaulted") == ("in-config", "gpt-4o", "config")
    assert ask(snapshot, token="defaulted", **HEADER) == ("in-config", "gpt-4o", "config")
    assert ask(snapshot, token="defaulted", config="pc-several")[2] == "config.targets[0]"
    with pytest.raises(Refused, match="Cannot override default config"):
        ask(snapshot, token="fixed", config="pc-several")


def test_a_config_without_targets_lends_its_policies_to_the_address(snapshot: Snapshot) -> None:
    assert ask(snapshot, config="pc-retry", **HEADER) == ("in-header", "gpt-4o", "config")
    assert ask(snapshot, "@in-body/gpt-4o", config="pc-retry") == ("in-body", "gpt-4o", "config")


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown slug": ({"virtual_key": "in-heder"}, 400, "in-header"),
    "an unknown slug in the model": ({"model": "@in-bdy/gpt-4o"}, 400, "in-body"),
    "an unknown provider": ({"provider": "opnai"}, 400, "openai"),
    "a provider without a credential": ({"provider": "openai"}, 400, "needs a credential"),
    "an unknown config": ({"config": "pc-d"}, 400, "Invalid config id passed"),
    "a config that is neither": ({"config": "default"}, 400, "JSON object or the slug"),
    "a model nobody claims": ({"model": "unclaimed"}, 404, "@slug/unclaimed"),
    "nothing at all": ({"model": None}, 400, "x-portkey-config, x-portkey-provider or x-portkey-virtual-key"),
    "a host beside a stored credential": (
        {**HEADER, "custom_host": "https://x.example"},
        400,
        "cannot be combined with a stored credential",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_leads_nowhere_is_refused_with_what_would_help(snapshot: Snapshot, case: str) -> None:
    fields, status, message = REFUSED[case]
    with pytest.raises(Refused) as refused:
        ask(snapshot, **fields)
    assert refused.value.status == status
    assert message in refused.value.message


def test_a_key_with_an_allow_list_brings_no_credential_of_its_own(snapshot: Snapshot) -> None:
    with pytest.raises(Refused) as refused:
        ask(snapshot, token="narrow", provider="openai")
    assert (refused.value.status, refused.value.code) == (403, "virtual_key_not_allowed")


def test_a_passthrough_target_takes_its_provider_from_the_request(snapshot: Snapshot) -> None:
    way = {"config": "pc-passing"}
    assert ask(snapshot, **way, **HEADER) == ("in-header", "gpt-4o", "config.targets[0]")
    assert ask(snapshot, "@in-body/gpt", **way) == ("in-body", "gpt", "config.targets[0]")
    assert ask(snapshot, "@in-body/gpt", **way, **PROVIDER)[0] == "in-provider"
    with pytest.raises(Refused):
        ask(snapshot, "unknown", **way)


def test_a_passthrough_target_is_compiled_once_for_each_provider(snapshot: Snapshot) -> None:
    for _ in range(3):
        ask(snapshot, config="pc-passing", **HEADER)
        ask(snapshot, config="pc-passing", **PROVIDER)
    assert len(snapshot._passing) == 2
