"""The capability report says what the codecs do, because it asks them."""

from __future__ import annotations

import pytest

from adapters.capabilities import PROBES, fates, operations
from adapters.providers import PROVIDERS, Provider
from adapters.registry import CODECS
from adapters.types import Dialect
from proxy.config.dialects import SERVED_BY

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
    assert chat.dropped == ("logprobs", "top_logprobs", "logit_bias")


def test_a_report_tells_which_betas_are_known_where() -> None:
    def betas(provider: str, upstream: Dialect) -> set[str]:
        found = operations(PROVIDERS[provider], SERVED_BY)
        return {beta for each in found if each.upstream == upstream for beta in each.betas}

    assert "interleaved-thinking-2025-05-14" in betas("bedrock", Dialect.BEDROCK_ANTHROPIC)
    assert "web-search-2025-03-05" in betas("vertex-ai", Dialect.VERTEX_ANTHROPIC)
    assert "claude-code-20250219" in betas("bedrock-mantle", Dialect.ANTHROPIC_MESSAGES)
    assert not betas("anthropic", Dialect.ANTHROPIC_MESSAGES)
    assert not betas("openai", Dialect.OPENAI_CHAT)
