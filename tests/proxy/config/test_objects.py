"""What a config object may say, and what is answered when it says something else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.nodes import Breaker, Cache, Node, Retry, Sticky, Strategy
from proxy.config.objects import InvalidConfig, parse, parse_json

LEAF = {"virtual_key": "openai-prod"}


def findings(raw: object) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        parse(raw)
    return caught.value.findings


def targets(mode: str, *nodes: dict[str, Any], **strategy: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **strategy}, "targets": list(nodes)}


# What is refused, in the words that clients know


INCOMPLETE = (
    "path: , message: Invalid configuration. It must have either 'provider' and 'api_key', "
    "or 'strategy' and 'targets', or 'cache', or 'retry', or 'request_timeout'"
)


@pytest.mark.parametrize(
    ("raw", "finding"),
    [
        (
            targets("falback", LEAF),
            "path: strategy,mode, message: Invalid 'mode' value. "
            "Must be one of: single, loadbalance, fallback, conditional; did you mean 'fallback'?",
        ),
        (
            targets("sometimes", LEAF),
            "path: strategy,mode, message: Invalid 'mode' value. "
            "Must be one of: single, loadbalance, fallback, conditional",
        ),
        (
            {"cache": {"mode": "smart"}},
            "path: cache,mode, message: Invalid 'cache.mode' value. Must be one of: simple, semantic",
        ),
        ({"cache": {"max_age": 60}}, "path: cache,mode, message: 'cache.mode' must be defined"),
        ({"retry": {"on_status_codes": [429]}}, "path: retry,attempts, message: 'retry.attempts' must be defined"),
        ({**LEAF, "custom_host": "ftp://example.com"}, "path: custom_host, message: Invalid custom host"),
        ({"provider": "openai"}, INCOMPLETE),
        ({}, INCOMPLETE),
        ({"name": "only a name"}, INCOMPLETE),
        (
            targets("conditional", {"name": "a", **LEAF}),
            "path: strategy,conditions, message: No conditions passed in the query router",
        ),
        (
            targets(
                "conditional", {"name": "a", **LEAF}, conditions=[{"query": {"metadata.plan": "paid"}, "then": "b"}]
            ),
            "path: strategy,conditions,0,then, message: Invalid target name found in the query router: b",
        ),
        (
            targets(
                "conditional", {"name": "a", **LEAF}, conditions=[{"query": {"metadata.x": {"$like": 1}}, "then": "a"}]
            ),
            "path: strategy,conditions,0,query,metadata.x,$like, "
            "message: Unsupported operator used in the query router: $like",
        ),
        (
            targets("fallback", LEAF, sticky={"enabled": True, "hash_fields": ["user"]}),
            'path: strategy,sticky,hash_fields,0, message: hash_fields must start with "metadata.", "params.", '
            'or "headers."',
        ),
        ({"retry": {"attempts": "3"}}, "path: retry,attempts, message: Expected number, received string"),
        ({"virtual_key": 7}, "path: virtual_key, message: Expected string, received number"),
        ([], "path: , message: Expected object, received array"),
    ],
)
def test_a_mistake_is_named_with_its_path_in_the_known_words(raw: object, finding: str) -> None:
    assert findings(raw) == [finding]


def test_an_unknown_provider_is_answered_with_all_known_ones_and_the_nearest() -> None:
    (finding,) = findings({"provider": "antropic", "api_key": "x"})
    assert finding.startswith("path: provider, message: Invalid 'provider' value. Must be one of: openai, anthropic, ")
    assert finding.endswith("Did you mean 'anthropic'?")


def test_all_mistakes_come_in_one_answer() -> None:
    raw = {
        "strategy": {"mode": "fallback", "on_status_codes": [42]},
        "retry": {"attempts": 9},
        "targets": [{"provider": "openai"}, {"virtual_key": 1}, {"strategy": {"mode": "x"}, "targets": [{}]}],
    }
    paths = [finding.partition(", message")[0] for finding in findings(raw)]
    assert paths == [
        "path: strategy,on_status_codes,0",
        "path: retry,attempts",
        "path: targets,0",
        "path: targets,1,virtual_key",
        "path: targets,2,strategy,mode",
        "path: targets,2,targets,0",
    ]


def test_the_old_form_with_options_is_refused_with_the_way_out() -> None:
    (finding,) = findings({"mode": "fallback", "options": [{"provider": "openai", "apiKey": "x"}]})
    assert "path: options" in finding
    assert "'targets'" in finding


@pytest.mark.parametrize("mode", ["fallback", "loadbalance", "conditional", "least_busy", "hedge"])
def test_a_strategy_without_targets_is_refused(mode: str) -> None:
    assert any(f"at least one target for mode '{mode}'" in finding for finding in findings(targets(mode)))


def test_weights_that_are_all_zero_are_refused_but_a_single_zero_is_not() -> None:
    none = {"virtual_key": "a", "weight": 0}
    assert findings(targets("loadbalance", none, none))[0].startswith("path: targets, message: the weights add up to 0")
    assert parse(targets("loadbalance", none, LEAF)).targets[0].weight == 0


def test_several_targets_need_a_strategy_but_one_does_not() -> None:
    assert findings({"targets": [LEAF, LEAF]})[0].startswith("path: strategy, message: must be given")
    assert parse({"targets": [LEAF]}).strategy == Strategy("single")


def test_no_secret_is_repeated_in_a_finding() -> None:
    secret = "sk-verysecret"
    raw = {"provider": "openia", "api_key": [secret], "aws_secret_access_key": {"a": secret}, "cache": secret}
    assert secret not in " ".join(findings(raw))


def test_headers_of_metadata_services_cannot_be_forwarded() -> None:
    assert "cannot be forwarded" in findings({"forward_headers": ["Metadata-Flavor"]})[0]


@pytest.mark.parametrize("host", ["http://169.254.169.254/latest", "http://metadata.google.internal", "http://u@h"])
def test_hosts_that_are_never_right_are_refused(host: str) -> None:
    assert findings({**LEAF, "custom_host": host}) == ["path: custom_host, message: Invalid custom host"]


# What is accepted


@pytest.mark.parametrize(
    "raw",
    [
        {"provider": "openai", "api_key": "k"},
        {"provider": "openai", "custom_host": "http://10.0.0.1:8000/v1"},
        {"virtual_key": "a"},
        {"provider": "@a"},
        {"override_params": {"model": "@a/gpt-5"}},
        {"cache": {"mode": "simple"}},
        {"cache": "simple"},
        {"retry": {"attempts": 0}},
        {"request_timeout": 100},
        {"input_guardrails": ["pg-1"]},
        {"output_guardrails": [{"default.contains": {"words": ["a"]}}]},
        {"before_request_hooks": [{"type": "guardrail", "id": "a"}]},
        {"forward_headers": ["X-Team"]},
        {"passthrough": True},
        {"default_params": {"max_tokens": 5}},
        {"drop_params": ["a.b", "a[0].b", "a[*].b"]},
        {"prompt_id": "pp-1"},
        {"provider": "ollama"},
        {"aws_access_key_id": "a", "aws_secret_access_key": "b"},
        {"azure_auth_mode": "managed"},
        *(targets(mode, LEAF) for mode in ("single", "fallback", "loadbalance", "least_busy", "lowest_latency")),
        targets("fallback", {"provider": "openai"}, LEAF) | {"retry": {"attempts": 1}},
    ],
    ids=str,
)
def test_each_sufficient_leaf_or_policy_is_accepted(raw: dict[str, Any]) -> None:
    assert parse(raw).warnings == ()


def test_a_leaf_is_judged_with_what_it_inherits() -> None:
    bare = {"provider": "openai"}
    assert len(findings(targets("fallback", bare))) == 1
    for policy in ({"retry": {"attempts": 1}}, {"custom_host": "https://example.com"}, {"cache": "simple"}):
        parse(targets("fallback", bare) | policy)
    assert len(findings(targets("fallback", bare) | {"passthrough": True})) == 1


def test_the_whole_schema_arrives_in_the_node() -> None:
    raw = {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"$or": [{"metadata.a": "b"}, {"params.n": {"$gte": 3}}]}, "then": "one"}],
            "default": "two",
            "on_status_codes": [429, 446],
            "sticky": {"enabled": True, "hash_fields": ["metadata.user"], "ttl": 300},
            "cb_config": {"failure_threshold": 5, "cooldown_interval": 30000, "failure_status_codes": [500]},
        },
        "retry": {"attempts": 5, "on_status_codes": [529], "use_retry_after_headers": True},
        "cache": {"mode": "semantic", "max_age": 3600},
        "request_timeout": 1500.2,
        "targets": [
            {
                "name": "one",
                "provider": "openai",
                "api_key": "sk-x",
                "weight": 0.5,
                "override_params": {"model": "gpt-5", "n": None},
                "forward_headers": ["X-Team"],
                "openai_organization": "org",
                "strict_open_ai_compliance": False,
            },
            {"name": "two", "virtual_key": "@slug"},
        ],
    }
    node = parse(raw)
    assert node.retry == Retry(5, (529,), True)
    assert node.cache == Cache("semantic", 3600)
    assert node.request_timeout == 1501
    assert node.strategy is not None
    assert node.strategy.on_status_codes == (429, 446)
    assert node.strategy.sticky == Sticky(True, ("metadata.user",), 300.0)
    assert node.breaker == node.strategy.cb_config == Breaker(5, None, 30000, (500,))
    one, two = node.targets
    assert one.api_key is not None
    assert one.api_key.reveal() == "sk-x"
    assert (one.weight, one.forward_headers, one.strict_open_ai_compliance) == (0.5, ("x-team",), False)
    assert one.override_params == {"model": "gpt-5", "n": None}
    assert one.fields == {"openai_organization": "org"}
    assert two.slug == "slug"


def test_camel_case_means_the_same() -> None:
    raw = {
        "strategy": {"mode": "fallback", "onStatusCodes": [500]},
        "requestTimeout": 5,
        "targets": [{"virtualKey": "a", "overrideParams": {"maxTokens": 1}, "strictOpenAiCompliance": True}],
    }
    node = parse(raw)
    assert node.strategy == Strategy("fallback", (500,))
    assert node.request_timeout == 5
    assert node.targets[0].virtual_key == "a"
    assert node.targets[0].override_params == {"maxTokens": 1}
    assert node.targets[0].strict_open_ai_compliance is True


def test_unknown_keys_are_warned_about_with_the_nearest_name() -> None:
    node = parse(targets("fallback", {**LEAF, "retires": {"attempts": 1}}))
    assert node.warnings == ("config.targets[0].retires: unknown key; did you mean 'retry'?",)


def test_null_counts_as_absent() -> None:
    assert parse({**LEAF, "retry": None, "name": None, "targets": None}) == Node(virtual_key="openai-prod")


def test_a_cache_age_out_of_range_is_moved_into_it_with_a_warning() -> None:
    node = parse({"cache": {"mode": "simple", "max_age": 5}})
    assert node.cache == Cache("simple", 60)
    assert "is taken as 60" in node.warnings[0]


@pytest.mark.parametrize(
    ("node", "slug"),
    [
        ({"provider": "@a/b", "virtual_key": "c"}, "a"),
        ({"virtual_key": "c", "override_params": {"model": "@d/m"}}, "c"),
        ({"override_params": {"model": "@d/m/n"}}, "d"),
        ({"override_params": {"model": "@cf/meta/llama"}}, None),
        ({"override_params": {"model": 3}}, None),
    ],
)
def test_the_slug_of_a_leaf_is_found_in_the_known_order(node: dict[str, Any], slug: str | None) -> None:
    assert parse(node).slug == slug


def test_credentials_are_not_in_the_repr() -> None:
    node = parse({"provider": "openai", "api_key": "sk-x", "aws_secret_access_key": "sk-y", "aws_region": "eu"})
    assert "sk-" not in repr(node)
    assert "'aws_region': 'eu'" in repr(node)


def test_a_config_in_a_request_cannot_refer_to_files_or_variables() -> None:
    node = parse({"provider": "openai", "api_key": "file:/etc/passwd", "openai_project": "env:HOME", "name": "${HOME}"})
    assert node.api_key is not None
    assert node.api_key.reveal() == "file:/etc/passwd"
    assert (node.fields["openai_project"], node.name) == ("env:HOME", "${HOME}")


# Nothing but InvalidConfig


KEYS = st.sampled_from(
    ["strategy", "mode", "targets", "retry", "attempts", "cache", "provider", "virtual_key", "weight", "conditions",
     "query", "then", "sticky", "cb_config", "custom_host", "request_timeout", "on_status_codes", "override_params",
     "max_age", "hash_fields", "vertex_service_account_json", "forward_headers", "drop_params", "$and", "$regex"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["fallback", "loadbalance", "conditional", "single", "openai", "vertex-ai", "simple", "@a"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6),
    max_leaves=30,
)


@settings(max_examples=400, deadline=None)
@given(JSON)
def test_any_json_gives_a_node_or_invalid_config(raw: object) -> None:
    try:
        node = parse(raw)
    except InvalidConfig as error:
        assert error.findings  # noqa: PT017
    else:
        assert isinstance(node, Node)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda raw: json.dumps(raw).encode()))
def test_any_bytes_give_a_node_or_invalid_config(text: bytes) -> None:
    try:
        parse_json(text)
    except InvalidConfig as error:
        assert error.findings  # noqa: PT017


@pytest.mark.parametrize(
    "raw",
    [
        {"weight": math.inf, **LEAF},
        {"weight": math.nan, **LEAF},
        {"retry": {"attempts": 10**400}},
        {"request_timeout": -1},
        {"provider": "@"},
        {1: 2, "virtual_key": ""},
    ],
)
def test_odd_values_are_findings(raw: dict[Any, Any]) -> None:
    assert len(findings(raw)) == 1


def test_deep_nesting_is_a_finding() -> None:
    raw: dict[str, Any] = dict(LEAF)
    for _ in range(200):
        raw = targets("single", raw)
    assert "nested 16 deep" in findings(raw)[0]
    with pytest.raises(InvalidConfig):
        parse_json(b'{"targets":[' * 100_000)
    query: dict[str, Any] = {"metadata.a": 1}
    for _ in range(200):
        query = {"$and": [query]}
    raw = targets("conditional", {"name": "a", **LEAF}, conditions=[{"query": query, "then": "a"}])
    assert "nested 16 deep" in findings(raw)[0]


def test_a_flood_of_mistakes_is_cut_short() -> None:
    assert len(findings(targets("fallback", *[{"virtual_key": 1}] * 5000))) == 101
