"""The capability report says what the codecs do, because it asks them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.capabilities import MODEL, MODELS, PROBES, Fate, fates, operations
from adapters.errors import InvalidRequest
from adapters.provider import Provider
from adapters.providers import PROVIDERS
from adapters.registry import CODECS
from adapters.types import Call, Dialect
from proxy.config.access import Access
from proxy.config.dialects import SERVED_BY
from proxy.config.target import Target

TRANSLATED = [pair for pair, codec in CODECS.items() if not codec.identity and pair[0] in PROBES]


@pytest.mark.parametrize(("client", "upstream"), TRANSLATED)
def test_every_parameter_of_a_translated_request_has_a_fate(client: Dialect, upstream: Dialect) -> None:
    _, parameters, contents = PROBES[client]
    found = fates(client, upstream)
    assert found.keys() == parameters.keys() | contents.keys()
    assert {fate.fate for fate in found.values()} <= {"kept", "mapped", "dropped", "refused", "here"}
    assert all(fate.why for fate in found.values() if fate.fate == "refused")


# What may be acted on here, so that a provider gets nothing of it. Anything else without a trace was lost in silence.
HERE = {"stream_options", "modalities", "service_tier", "store", "include", "encoding_format", "user"}


@pytest.mark.parametrize(("client", "upstream"), TRANSLATED)
def test_nothing_is_lost_in_silence(client: Dialect, upstream: Dialect) -> None:
    silent = {name for name, fate in fates(client, upstream).items() if fate.fate == "here"}
    assert silent <= HERE


def test_a_report_tells_kept_mapped_dropped_and_refused_apart() -> None:
    found = fates(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES)
    assert found["temperature"].fate == "kept"
    assert (found["stop"].fate, found["stop"].to) == ("mapped", ("stop_sequences",))
    assert found["seed"].fate == "dropped"
    assert found["audio input"].fate == "refused"


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
def test_every_dialect_of_a_row_shows_in_its_report(row: Provider) -> None:
    served = operations(row, SERVED_BY)
    unseen = row.paths.keys() - {operation.upstream for operation in served} - {Dialect.OPENAI_MODELS}
    assert not unseen or served


def test_the_same_dialect_on_both_sides_has_nothing_to_report_but_quirks() -> None:
    chat = operations(PROVIDERS["groq"], SERVED_BY)[0]
    assert (chat.support, chat.parameters) == ("native", {})
    assert {"logprobs", "logit_bias"} <= set(chat.dropped)


def test_a_report_knows_what_a_row_does_to_what_a_codec_made() -> None:
    def fate(provider: str, client: Dialect, name: str) -> Fate:
        found = next(each for each in operations(PROVIDERS[provider], SERVED_BY) if each.dialect == client)
        return found.parameters[name]

    assert fate("groq", Dialect.OPENAI_COMPLETIONS, "presence_penalty") == Fate("dropped")
    assert fate("ollama", Dialect.ANTHROPIC_MESSAGES, "metadata") == Fate("dropped")
    assert fate("nebius", Dialect.OPENAI_RESPONSES, "temperature") == Fate("kept")
    assert fate("together-ai", Dialect.OPENAI_CHAT, "top_logprobs") == Fate("mapped", ("logprobs",))


# Every cell of the report that says something of a parameter, and what is sent where it says so.
FIELDS = {
    "aws_region": "eu-west-1",
    "vertex_region": "global",
    **dict.fromkeys(("vertex_project_id", "snowflake_account", "azure_resource_name", "workers_ai_account_id"), "x"),
}
CELLS = [
    (row, Dialect(each.dialect), Dialect(each.upstream), name)
    for row in PROVIDERS.values()
    for each in operations(row, SERVED_BY)
    for name in each.parameters
]


def sent(row: Provider, client: Dialect, upstream: Dialect, **fields: object) -> tuple[dict[str, object], set[str]]:
    """What a target of the gateway's sends of a request, and the names that it tells as lost. Raises InvalidRequest."""
    host = "http://127.0.0.1:9" if row.host_required or row.url_field else None
    target = Target(Access(row, "key", custom_host=host, fields=FIELDS))
    model = MODELS.get(upstream, MODEL)
    wire = target.wire(client, upstream)
    out = wire.codec.request(Call(client, model, False, msgspec.json.encode({"model": model, **fields}), "id", 0))
    body, lost = (out.body, ()) if wire.quirks is None else wire.quirks.apply(out.body)
    return msgspec.json.decode(body), {each.partition(".")[0].partition("[")[0] for each in (*out.dropped, *lost)}


@settings(max_examples=40)
@given(st.sampled_from(CELLS))
def test_a_cell_of_the_report_says_what_a_target_does(cell: tuple[Provider, Dialect, Dialect, str]) -> None:
    row, client, upstream, name = cell
    found = next(
        each for each in operations(row, SERVED_BY) if (each.dialect, each.upstream) == (client, upstream)
    ).parameters[name]
    base, parameters, contents = PROBES[client]
    beside = {"tool_choice": "tools", "parallel_tool_calls": "tools", "top_logprobs": "logprobs", "audio": "modalities"}
    base = base | {each: parameters[each] for each in [beside.get(name)] if each in parameters}
    change = contents.get(name) or {name: parameters[name]}
    before, known = sent(row, client, upstream, **base)
    if found.fate == "refused":
        with pytest.raises(InvalidRequest):
            sent(row, client, upstream, **{**base, **change})
        return
    after, lost = sent(row, client, upstream, **{**base, **change})
    changed = {each for each in after if after[each] != before.get(each)}
    assert bool(lost - known) or found.fate != "dropped"
    assert bool(changed) == (found.fate in ("kept", "mapped")) or found.fate == "dropped"
    if found.fate == "mapped":
        assert changed >= {path.partition(".")[0].partition("[")[0] for path in found.to}
    if found.fate == "kept":
        assert changed == {name}


def test_a_report_tells_which_betas_are_known_where() -> None:
    def betas(provider: str, upstream: Dialect) -> set[str]:
        found = operations(PROVIDERS[provider], SERVED_BY)
        return {beta for each in found if each.upstream == upstream for beta in each.betas}

    assert "interleaved-thinking-2025-05-14" in betas("bedrock", Dialect.BEDROCK_ANTHROPIC)
    assert "web-search-2025-03-05" in betas("vertex-ai", Dialect.VERTEX_ANTHROPIC)
    assert "claude-code-20250219" in betas("bedrock-mantle", Dialect.ANTHROPIC_MESSAGES)
    assert not betas("anthropic", Dialect.ANTHROPIC_MESSAGES)
    assert not betas("openai", Dialect.OPENAI_CHAT)
