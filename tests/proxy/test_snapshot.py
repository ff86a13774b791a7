"""One configuration version: what it compiles, what it leaves out, and what its caches may grow to."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import snapshot as module
from proxy.config.nodes import Node
from proxy.config.plan import Plan
from proxy.config.snapshot import Key, Snapshot
from proxy.errors import Refused
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, ConfigRow, Limits, Rows, Secret, VirtualKeyRow


def virtual_key(slug: str, provider: str = "openai", **fields: Any) -> VirtualKeyRow:
    return VirtualKeyRow(slug=slug, name=slug, provider=provider, key=Secret(f"sk-{slug}"), **fields)


def api_key(name: str, **fields: Any) -> ApiKeyRow:
    return ApiKeyRow(id=name, name=name, digest=digest(name), **fields)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def key_of(snapshot: Snapshot, token: str) -> Key:
    return snapshot.keys[hashlib.sha256(token.encode()).digest()]


def made(
    *virtual_keys: VirtualKeyRow, keys: tuple[ApiKeyRow, ...] = (), configs: dict[str, Any] | None = None
) -> Snapshot:
    saved = tuple(ConfigRow(slug=slug, name=slug, config=config) for slug, config in (configs or {}).items())
    return Snapshot(Rows(1, (api_key("key"), *keys), virtual_keys, saved), Limiters())


def test_keys_are_found_by_their_digest_alone() -> None:
    snapshot = made(keys=(api_key("other", scopes=("admin",)),))
    assert key_of(snapshot, "other").name == "other"
    assert "completions.write" in key_of(snapshot, "key").scopes
    assert "completions.write" not in key_of(snapshot, "other").scopes
    assert b"key" not in snapshot.keys


def test_a_rotated_key_works_under_both_tokens_until_the_old_ones_time() -> None:
    row = ApiKeyRow(id="k", name="k", digest=digest("new"), previous_digest=digest("old"), previous_expires_at=100)
    snapshot = made(keys=(row,))
    assert (key_of(snapshot, "new").until, key_of(snapshot, "old").until) == (None, 100)
    assert key_of(snapshot, "new").limiter is key_of(snapshot, "old").limiter
    ending = ApiKeyRow(
        id="k", name="k", digest=digest("new"), previous_digest=digest("old"), previous_expires_at=100, expires_at=50
    )
    assert key_of(made(keys=(ending,)), "old").until == 50


def test_an_old_token_never_takes_the_place_of_a_current_one() -> None:
    thief = ApiKeyRow(id="t", name="t", digest=digest("t"), previous_digest=digest("key"), previous_expires_at=9**9)
    assert key_of(made(keys=(thief,)), "key").name == "key"


def test_rows_that_cannot_be_compiled_are_left_out_and_named() -> None:
    snapshot = made(virtual_key("good"), virtual_key("bad", "opnai"), virtual_key("odd", custom_host="gopher://x"))
    assert set(snapshot.targets) == {"good"}
    assert any("bad" in problem and "'openai'" in problem for problem in snapshot.problems)
    assert any("odd" in problem for problem in snapshot.problems)
    assert not any("sk-" in problem for problem in snapshot.problems)


def test_an_unknown_slug_is_refused_with_near_ones_that_the_key_may_use() -> None:
    narrow = api_key("narrow", virtual_keys=("openai-prod",))
    snapshot = made(virtual_key("openai-prod"), virtual_key("openai-prodd"), keys=(narrow,))
    with pytest.raises(Refused, match="openai-pro") as refused:
        snapshot.plan_of("openai-prd", key_of(snapshot, "key"))
    assert (refused.value.status, refused.value.code) == (400, "unknown_virtual_key")
    with pytest.raises(Refused) as refused:
        snapshot.plan_of("openai-proddd", key_of(snapshot, "narrow"))
    assert "openai-prodd'" not in refused.value.message.replace("'openai-proddd'", "")


def test_saved_configs_are_compiled_once_and_only_when_asked_for() -> None:
    snapshot = made(
        virtual_key("openai"),
        configs={
            "pc-a": {"virtual_key": "openai"},
            "pc-bad": {"virtual_key": "gone"},
            "pc-retry": {"retry": {"attempts": 2}},
        },
    )
    plan = snapshot.saved("pc-a")
    assert isinstance(plan, Plan)
    assert snapshot.saved("pc-a") is plan
    assert isinstance(snapshot.saved("pc-retry"), Node)
    with pytest.raises(Refused, match="gone"):
        snapshot.saved("pc-bad")
    with pytest.raises(Refused, match="Invalid config id passed"):
        snapshot.saved("pc-b")


def test_inline_configs_are_compiled_once_for_the_same_bytes() -> None:
    snapshot = made(virtual_key("openai"))
    key = key_of(snapshot, "key")
    text = b'{"virtual_key": "openai"}'
    assert snapshot.inline(text, key) is snapshot.inline(text, key)
    with pytest.raises(Refused, match="Invalid config passed") as refused:
        snapshot.inline(b'{"strategy": {"mode": "fallbak"}, "targets": [{"virtual_key": "openai"}]}', key)
    assert refused.value.errors


def test_caches_forget_instead_of_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED", 10)
    snapshot = made(virtual_key("openai"))
    key = key_of(snapshot, "key")
    for n in range(50):
        snapshot.inline(json.dumps({"virtual_key": "openai", "request_timeout": n + 1}).encode(), key)
        snapshot.adhoc("openai", f"sk-{n}", None)
    assert len(snapshot._inline) <= 10
    assert len(snapshot._adhoc) <= 10


def test_a_config_of_a_client_never_sends_a_stored_credential_elsewhere() -> None:
    snapshot = made(
        virtual_key("openai"), configs={"pc-a": {"virtual_key": "openai", "custom_host": "https://x.example"}}
    )
    with pytest.raises(Refused, match="custom_host"):
        snapshot.inline(b'{"virtual_key": "openai", "custom_host": "https://x.example"}', key_of(snapshot, "key"))
    operators = snapshot.saved("pc-a")
    assert isinstance(operators, Plan)
    assert operators.root.leaves()[0].target.origin.host == "x.example"


def test_a_host_that_a_client_names_is_guarded_unless_the_operator_trusts_it() -> None:
    assert made().adhoc("openai", "sk", "https://8.8.8.8").origin.guarded
    with pytest.raises(Refused, match="Invalid custom host"):
        made().adhoc("openai", "sk", "http://10.0.0.1")
    trusting = Snapshot(Rows(), Limiters(), frozenset(("10.0.0.1",)))
    assert not trusting.adhoc("openai", "sk", "http://10.0.0.1").origin.guarded


def test_a_model_leads_to_the_virtual_key_that_claims_it_or_to_the_only_one() -> None:
    alone = made(virtual_key("openai"))
    assert alone.by_model("anything", key_of(alone, "key")) is alone.plans["openai"]
    narrow = api_key("narrow", virtual_keys=("plain",))
    several = made(
        virtual_key("plain"),
        virtual_key("listed", models=("gpt-*",)),
        virtual_key("aliased", aliases={"fast": "gpt-4o-mini"}),
        keys=(narrow,),
    )
    key = key_of(several, "key")
    assert several.by_model("gpt-4o", key) is several.plans["listed"]
    assert several.by_model("fast", key) is several.plans["aliased"]
    assert several.by_model("other", key) is None
    assert several.by_model("gpt-4o", key_of(several, "narrow")) is several.plans["plain"]


def test_limiters_live_on_in_the_next_version() -> None:
    limiters = Limiters()
    row = virtual_key("openai", limits=Limits(concurrency=1))
    first = Snapshot(Rows(1, (), (row,)), limiters)
    limiter = first.targets["openai"].limiter
    assert limiter is not None
    limiter.enter(cast(Any, None), None)
    second = Snapshot(Rows(2, (), (row,)), limiters)
    assert second.targets["openai"].limiter is limiter
    assert limiter.held == 1


_WORDS = st.sampled_from(
    [
        *("openai", "@openai", "@none", "x", "", "a[*].b", "simple"),
        *("fallback", "loadbalance", "conditional", "hedge", "cheapest"),
    ]
)
_FIELDS = st.sampled_from([field.name for field in msgspec.structs.fields(Node)])
_CONFIGS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.floats(allow_nan=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS | st.just("mode"), inner, max_size=5),
    max_leaves=16,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_FIELDS, _CONFIGS, max_size=6))
def test_compiling_a_config_raises_nothing_but_a_refusal(config: dict[str, Any]) -> None:
    snapshot = made(virtual_key("openai"), virtual_key("x"))
    compiled: Any = None
    with contextlib.suppress(Refused):
        compiled = snapshot.inline(json.dumps(config).encode(), key_of(snapshot, "key"))
    assert compiled is None or isinstance(compiled, Plan | Node)
