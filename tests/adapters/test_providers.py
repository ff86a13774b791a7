"""The table of providers: every row can be sent to, and its quirks touch what they name and nothing else."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import PROVIDERS, RETIRED, Provider
from adapters.quirks import Quirks
from adapters.registry import CODECS
from adapters.types import Dialect

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


def test_a_parameter_that_is_null_was_not_given() -> None:
    assert Quirks(drop=("logprobs",)).apply(b'{"logprobs":null}') == (b"{}", ())


def test_a_renamed_parameter_keeps_its_value_unless_the_providers_own_name_is_there() -> None:
    quirks = Quirks(rename={"seed": "random_seed"})
    assert quirks.apply(b'{"seed":7}') == (b'{"random_seed":7}', ())
    assert quirks.apply(b'{"random_seed":1,"seed":7}') == (b'{"random_seed":1}', ("seed",))
    assert quirks.apply(b'{"random_seed":7,"seed":7}') == (b'{"random_seed":7}', ())


def test_mistrals_embeddings_have_its_own_word_for_dimensions() -> None:
    quirks = PROVIDERS["mistral-ai"].quirks[Dialect.OPENAI_EMBEDDINGS]
    body = b'{"model":"m","input":["a"],"dimensions":256,"user":"u"}'
    assert quirks.apply(body) == (b'{"model":"m","input":["a"],"output_dimension":256}', ("user",))


@pytest.mark.parametrize(
    ("name", "role", "limit"),
    [
        ("openai", "developer", "max_completion_tokens"),
        ("groq", "developer", "max_completion_tokens"),
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
    assert dropped == (("logprobs",) if fields.get("logprobs") is not None else ())
