"""The table of providers: every row can be sent to, and its quirks touch what they name and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import hosts
from adapters.provider import Provider
from adapters.providers import PROVIDERS, RETIRED
from adapters.quirks import Quirks
from adapters.registry import CODECS
from adapters.types import Dialect
from proxy.config.access import Access
from proxy.config.target import Target
from proxy.errors import Refused

# The ids that programs of the field may name.
_KNOWN = """
openai azure-openai azure-ai github anthropic bedrock bedrock-mantle google sagemaker mistral-ai ollama
302ai ai21 aibadgr anyscale bytez cerebras cometapi matterai cortex dashscope deepbricks deepinfra deepseek
featherless-ai fireworks-ai groq huggingface hyperbolic inference-net iointelligence jina nomic voyage kluster-ai
krutrim lambda lemonfox-ai lepton lingyi meshy tripo3d milvus qdrant modal monsterapi moonshot ncompass nebius
nextbit novita-ai nscale openrouter oracle ovhcloud palm perplexity-ai predibase recraft-ai reka-ai replicate
sambanova segmind siliconflow stability-ai together-ai triton upstage workers-ai x-ai z-ai zhipu databricks
latitude pinecone portkey openai-compatible
"""
KNOWN = frozenset(_KNOWN.split())


def test_every_provider_of_the_field_has_a_row_or_a_reason_why_not() -> None:
    missing = KNOWN - PROVIDERS.keys() - RETIRED.keys()
    assert not missing
    assert not PROVIDERS.keys() & RETIRED.keys()


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
def test_a_row_says_where_its_provider_is_and_where_that_is_written(row: Provider) -> None:
    assert row.docs.startswith("https://")
    assert re.fullmatch(r"[A-Z0-9_]+", row.key_env)
    if row.base_url:
        parts = urlsplit(re.sub(r"\{\w+\}", "x", row.base_url))
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert not row.base_url.endswith("/")
    else:
        assert row.host_required or row.url_field
    assert all(path.startswith("/") for path in row.paths.values())


# Whose models or gates know messages of developers; whoever is added is taken not to until its row says so.
KNOW_DEVELOPERS = {"openai", "azure-openai", "groq", "x-ai"}


def test_messages_of_developers_go_only_to_those_who_know_them() -> None:
    chats = {name: row for name, row in PROVIDERS.items() if Dialect.OPENAI_CHAT in row.paths}
    know = {name for name, row in chats.items() if row.quirks.get(Dialect.OPENAI_CHAT, Quirks()).developers}
    assert know == KNOW_DEVELOPERS


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
def test_every_dialect_of_a_row_can_be_reached_from_some_client(row: Provider) -> None:
    reachable = {upstream for _, upstream in CODECS} | {Dialect.OPENAI_MODELS}
    assert row.paths.keys() <= reachable
    assert row.stream_paths.keys() <= row.paths.keys()
    assert row.quirks.keys() <= row.paths.keys()


def test_a_body_without_quirks_is_the_same_object() -> None:
    body = b'{"model" : "m",  "temperature":1.0}'
    assert Quirks(drop=("logprobs",), rename={"seed": "random_seed"}).apply(body) == (body, ())
    assert Quirks(drop=("logprobs",)).apply(body)[0] is body


def test_a_dropped_parameter_is_named_and_the_rest_keeps_its_text() -> None:
    body = b'{"model":"m","logprobs":true,"temperature":1.0,"n":1e0}'
    assert Quirks(drop=("logprobs",)).apply(body) == (b'{"model":"m","temperature":1.0,"n":1e0}', ("logprobs",))


@pytest.mark.parametrize(
    "body",
    [
        b'{"logprobs":null}', b'{"logprobs":false}', b'{"n":1}', b'{"tool_choice":"auto"}', b'{"top_logprobs":0}',
        b'{"presence_penalty":0.0}', b'{"logit_bias":{}}', b'{"user":""}', b'{"stop":[]}',
    ],
)  # fmt: skip
def test_a_parameter_that_asks_for_nothing_is_left_out_and_not_named(body: bytes) -> None:
    assert Quirks(drop=tuple(json.loads(body))).apply(body) == (b"{}", ())


def test_a_renamed_parameter_keeps_its_value_unless_the_providers_own_name_is_there() -> None:
    quirks = Quirks(rename={"seed": "random_seed"})
    assert quirks.apply(b'{"seed":7}') == (b'{"random_seed":7}', ())
    assert quirks.apply(b'{"random_seed":1,"seed":7}') == (b'{"random_seed":1}', ("seed",))
    assert quirks.apply(b'{"random_seed":7,"seed":7}') == (b'{"random_seed":7}', ())


def applied(provider: str, dialect: Dialect, **fields: object) -> tuple[dict[str, object], tuple[str, ...]]:
    body, dropped = PROVIDERS[provider].quirks[dialect].apply(msgspec.json.encode(fields))
    return json.loads(body), dropped


SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True}


@pytest.mark.parametrize(
    ("provider", "dialect", "asked", "sent", "lost"),
    [
        ("together-ai", Dialect.OPENAI_CHAT, {"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}, ()),
        ("together-ai", Dialect.OPENAI_CHAT, {"logprobs": True}, {"logprobs": 1}, ()),
        ("together-ai", Dialect.OPENAI_CHAT, {"logprobs": False}, {}, ()),
        ("together-ai", Dialect.OPENAI_CHAT, {"logprobs": 3}, {"logprobs": 3}, ()),
        ("x-ai", Dialect.OPENAI_CHAT, {"presence_penalty": 0, "frequency_penalty": 1}, {"frequency_penalty": 1}, ()),
        ("groq", Dialect.OPENAI_CHAT, {"presence_penalty": 0, "frequency_penalty": 1}, {}, ("frequency_penalty",)),
        ("cerebras", Dialect.OPENAI_CHAT, {"presence_penalty": 1, "n": 2}, {"presence_penalty": 1, "n": 2}, ()),
        ("ollama", Dialect.OPENAI_CHAT, {"tool_choice": "none", "n": 1}, {}, ("tool_choice",)),
        (
            "voyage",
            Dialect.OPENAI_EMBEDDINGS,
            {"dimensions": 256, "encoding_format": "float", "user": "u"},
            {"output_dimension": 256},
            ("user",),
        ),
        ("jina", Dialect.OPENAI_EMBEDDINGS, {"encoding_format": "base64"}, {"embedding_type": "base64"}, ()),
        ("voyage", Dialect.OPENAI_EMBEDDINGS, {"encoding_format": "base64"}, {"encoding_format": "base64"}, ()),
        (
            "perplexity-ai",
            Dialect.OPENAI_RESPONSES,
            {"text": {"format": {"type": "json_schema", **SCHEMA}, "verbosity": "low"}},
            {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
            ("text.verbosity",),
        ),
        ("perplexity-ai", Dialect.OPENAI_RESPONSES, {"text": {"format": {"type": "text"}}}, {}, ()),
        ("perplexity-ai", Dialect.OPENAI_RESPONSES, {"include": ["reasoning.encrypted_content"]}, {}, ()),
        ("perplexity-ai", Dialect.OPENAI_RESPONSES, {"include": ["web_search_call.results"]}, {}, ("include",)),
        (
            "perplexity-ai",
            Dialect.OPENAI_RESPONSES,
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
            (),
        ),
    ],
)
def test_the_odd_ones_out_get_what_they_take(
    provider: str, dialect: Dialect, asked: dict[str, object], sent: dict[str, object], lost: tuple[str, ...]
) -> None:
    assert applied(provider, dialect, **asked) == (sent, lost)


def test_mistrals_embeddings_have_its_own_word_for_dimensions() -> None:
    quirks = PROVIDERS["mistral-ai"].quirks[Dialect.OPENAI_EMBEDDINGS]
    body = b'{"model":"m","input":["a"],"dimensions":256,"user":"u"}'
    assert quirks.apply(body) == (b'{"model":"m","input":["a"],"output_dimension":256}', ("user",))


@pytest.mark.parametrize(
    ("name", "role", "limit"),
    [
        ("openai", "developer", "max_completion_tokens"),
        ("groq", "developer", "max_completion_tokens"),
        ("openrouter", "system", "max_completion_tokens"),
        ("azure-ai", "system", "max_completion_tokens"),
        ("openai-compatible", "system", "max_completion_tokens"),
        ("cerebras", "system", "max_completion_tokens"),
        ("deepseek", "system", "max_tokens"),
        ("ollama", "system", "max_tokens"),
        ("z-ai", "system", "max_tokens"),
    ],
)
def test_what_few_hosts_took_over_from_openai_is_said_in_words_that_all_know(name: str, role: str, limit: str) -> None:
    hello = b'{"role":"user","content":"I am \\"developer\\" by trade" ,"x":1.0}'
    body = b'{"max_completion_tokens":9,"messages":[{"role":"developer","content":"Be brief."},%b]}' % hello
    quirks = PROVIDERS[name].quirks.get(Dialect.OPENAI_CHAT, Quirks())
    out, dropped = quirks.apply(body)
    assert json.loads(out) == {
        "messages": [{"role": role, "content": "Be brief."}, json.loads(hello)],
        limit: 9,
    }
    assert hello in out
    assert dropped == ()
    assert quirks.apply(b'{"messages":[%b]}' % hello)[0] == b'{"messages":[%b]}' % hello


def test_a_default_stands_only_where_nothing_was_said() -> None:
    quirks = Quirks(default={"stream_options": b'{"include_usage":true}'})
    assert quirks.apply(b"{}") == (b'{"stream_options":{"include_usage":true}}', ())
    assert quirks.apply(b'{"stream_options":null}') == (b'{"stream_options":null}', ())


NAMES = st.sampled_from(["model", "seed", "logprobs", "top_p", "x"])


@given(st.dictionaries(NAMES, st.one_of(st.integers(), st.text(), st.none(), st.booleans())))
def test_quirks_never_touch_what_they_do_not_name(fields: dict[str, object]) -> None:
    body = msgspec.json.encode(fields)
    out, dropped = Quirks(drop=("logprobs",), rename={"seed": "random_seed"}).apply(body)
    after = msgspec.json.decode(out)
    assert {name: after[name] for name in fields if name not in ("seed", "logprobs")} == {
        name: value for name, value in fields.items() if name not in ("seed", "logprobs")
    }
    value = fields.get("logprobs")
    assert dropped == (() if value is None or value is False or value == "" else ("logprobs",))


PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()


@pytest.mark.parametrize("row", hosts.ROWS, ids=[row.name for row in hosts.ROWS])
def test_the_page_of_providers_has_what_is_not_plain_about_a_host(row: Provider) -> None:
    if row.paths.keys() & {Dialect.OPENAI_RESPONSES, Dialect.RERANK}:
        assert re.search(rf"\| `{row.name}` \| `/(?:v1/)?(?:responses|rerank)`", PAGE)
    if any(quirks.drop or quirks.patch for quirks in row.quirks.values()):
        assert f"| `{row.name}` | " in PAGE.partition("## What single hosts want otherwise")[2]


@pytest.mark.parametrize("row", [row for row in PROVIDERS.values() if row.ended], ids=lambda row: row.name)
def test_who_has_lost_its_address_is_reached_at_one_of_yours_and_else_says_why(row: Provider) -> None:
    assert row.host_required
    with pytest.raises(Refused, match=re.escape(row.ended)):
        Target(Access(row, "key"))
    assert Target(Access(row, "key", custom_host="http://127.0.0.1:9")).wire(Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT)
    assert f"`{row.name}`" in PAGE.partition("## APIs that are no more")[2]


@pytest.mark.parametrize("name", RETIRED)
def test_the_page_of_providers_tells_who_is_no_more(name: str) -> None:
    assert f"`{name}`" in PAGE.partition("## APIs that are no more")[2]
