"""Finding prices: by the provider's name for a model, in the most authoritative table that has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import PROVIDERS
from adapters.types import Rare, Usage
from proxy.config import located
from proxy.config.access import Access, provider_row
from proxy.errors import PriceError
from proxy.prices import PIECES, Entry, Prices, as_json, decode_table, table_of, vendored
from proxy.prices.litellm import READ, convert, odd_prices
from proxy.prices.unread import LEAVES_OUT, UNREAD, strangers

SHIPPED = Prices((vendored(),))


def prices(**models: float) -> Prices:
    return Prices((table_of("v1", [("openai", name, Entry(input=rate)) for name, rate in models.items()]),))


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("google", "gemini-2.5-pro"),
        ("vertex-ai", "gemini-2.5-pro"),
        ("vertex-ai", "claude-haiku-4-5@20251001"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("azure-openai", "gpt-4o"),
        ("mistral-ai", "codestral-latest"),
    ],
)
def test_the_shipped_table_knows_what_people_use(provider: str, model: str) -> None:
    price = SHIPPED.find(provider, model)
    assert price is not None
    assert price.cost(Usage(1000, 1000)) > 0
    assert price.id.startswith(f"{vendored().version}:{provider}/")


def test_a_model_that_is_not_known_has_no_price_which_is_not_nought() -> None:
    assert SHIPPED.find("openai", "gpt-from-next-year") is None
    assert SHIPPED.find("openai-compatible", "gpt-4o") is None
    assert SHIPPED.find("openai", None) is None


@pytest.mark.parametrize(
    ("provider", "model", "host", "fields", "factor"),
    [
        ("openai", "gpt-5.4", "https://eu.api.openai.com/v1", {}, 1.1),
        ("openai", "gpt-5.4", "https://api.openai.com/v1", {}, 1),
        ("openai", "gpt-5.4", "https://eu.api.openai.com.example/v1", {}, 1),
        ("openai", "gpt-4o", "https://eu.api.openai.com/v1", {}, 1),
        ("vertex-ai", "claude-sonnet-5", None, {"vertex_region": "europe-west1"}, 1.1),
        ("vertex-ai", "claude-sonnet-5", None, {"vertex_region": "eu"}, 1.1),
        ("vertex-ai", "claude-sonnet-5", None, {"vertex_region": "global"}, 1),
        ("vertex-ai", "gemini-2.5-pro", None, {"vertex_region": "europe-west1"}, 1),
    ],
)
def test_a_target_at_a_place_of_its_own_has_the_prices_of_that_place(
    provider: str, model: str, host: str | None, fields: dict[str, Any], factor: float
) -> None:
    region = located.region(Access(provider_row(provider), "k", custom_host=host, fields=fields))
    here, anywhere = SHIPPED.of(provider, region).find(model), SHIPPED.find(provider, model)
    assert here is not None
    assert anywhere is not None
    usage = Usage(300_000, 1000, 500, 400)
    assert here.known(usage) == pytest.approx(anywhere.known(usage) * factor)
    assert here.at_most(300_000, 1000) == round(anywhere.at_most(300_000, 1000) * factor)
    assert here.id == anywhere.id + ("" if factor == 1 else f"@{region}")


def test_every_entry_of_the_shipped_table_is_sound_and_none_is_free() -> None:
    text = as_json(vendored())
    table = decode_table(text)
    assert as_json(table) == text
    assert table.licence.startswith("MIT")
    assert table.date
    for provider, models in table.providers.items():
        for model, entry in models.items():
            assert isinstance(entry, Entry)
            rates = (entry.input, entry.output, *(getattr(entry, name) for name in PIECES))
            assert any(rates), f"{provider}/{model} would cost nothing"
    assert len(table.providers.keys() & PROVIDERS.keys()) > 20


@pytest.mark.parametrize(
    ("provider", "model", "usage", "expected"),
    [
        ("anthropic", "claude-sonnet-4-5", Usage(rare=Rare(searches=2)), 0.02),
        ("cohere", "rerank-v3.5", Usage(rare=Rare(searches=1)), 0.002),
        ("openai", "whisper-1", Usage(rare=Rare(seconds=60)), 0.006),
        ("openai", "whisper-1", Usage(100, 100), None),
        ("openai", "tts-1", Usage(rare=Rare(characters=1000)), 0.015),
        ("openai", "gpt-4o-mini-tts", Usage(rare=Rare(characters=1000)), None),
        ("openai", "gpt-5", Usage(rare=Rare(searches=2, files=1, sessions=1)), 0.0525),
        ("openai", "gpt-4o-search-preview", Usage(1_000_000), 2.525),
        ("perplexity-ai", "sonar-pro", Usage(1_000_000, rare=Rare(size="low")), 3.006),
        ("google", "gemini-2.5-flash", Usage(1_000_000, rare=Rare(searches=3)), 0.335),
        ("google", "gemini-3.1-flash-lite", Usage(1_000_000, rare=Rare(searches=3)), 0.292),
        ("google", "gemini-2.5-flash", Usage(1_000_000, rare=Rare(maps=1)), 0.325),
        ("mistral-ai", "mistral-ocr-latest", Usage(rare=Rare(pages=3)), 0.012),
        ("x-ai", "grok-4.3", Usage(10, 10, rare=Rare(sources=3)), None),
        # Claude's fast mode, a place that it was bound to, and both; and a place that nobody has told the price of.
        ("anthropic", "claude-opus-5-5", Usage(1_100_000, 10_000, 1_000_000, tier="fast"), 0.8 + 0.4 + 0.4),
        ("anthropic", "claude-opus-5-5", Usage(1_000_000, rare=Rare(searches=1, region="us")), 4.4 + 0.01),
        ("anthropic", "claude-opus-5-5", Usage(1_000_000, tier="fast", rare=Rare(region="us")), 8.8),
        ("anthropic", "claude-opus-5-5", Usage(1_000_000, rare=Rare(region="mars")), None),
        ("anthropic", "claude-sonnet-5-5", Usage(1_000_000, tier="fast"), None),
    ],
)
def test_the_shipped_table_has_prices_of_pieces(
    provider: str, model: str, usage: Usage, expected: float | None
) -> None:
    price = SHIPPED.find(provider, model)
    assert price is not None
    assert price.cost(usage) == (None if expected is None else pytest.approx(expected))


def test_the_same_model_under_another_date_region_or_tuning_is_found() -> None:
    found = prices(**{"gpt-9": 1.0, "ft:gpt-9": 3.0})
    for model, id in (
        ("gpt-9", "v1:openai/gpt-9"),
        ("gpt-9-2030-01-31", "v1:openai/gpt-9"),
        ("gpt-9-20300131", "v1:openai/gpt-9"),
        ("ft:gpt-9:acme::id", "v1:openai/ft:gpt-9"),
    ):
        price = found.find("openai", model)
        assert price is not None
        assert price.id == id
    assert found.find("openai", "gpt-9-mini") is None
    assert prices(**{"gpt-9": 1.0}).find("openai", "ft:gpt-9:acme::id") is None


def test_the_first_table_that_has_a_model_wins_and_patterns_come_after_names() -> None:
    mine = table_of("mine", [("openai", "gpt-9*", Entry(input=7.0)), ("openai", "gpt-9-mini", Entry(input=8.0))])
    found = Prices((mine, table_of("theirs", [("openai", "gpt-9-nano", Entry(input=1.0))])))
    assert found.find("openai", "gpt-9-nano").id == "mine:openai/gpt-9*"  # type: ignore[union-attr]
    assert found.find("openai", "gpt-9-mini").id == "mine:openai/gpt-9-mini"  # type: ignore[union-attr]


def test_free_is_something_an_operator_may_say() -> None:
    free = Prices((table_of("mine", [("ollama", "*", Entry(input=0, output=0))]),)).find("ollama", "anything")
    assert free is not None
    assert free.cost(Usage(1000, 1000)) == 0.0


def test_names_that_clients_invent_do_not_fill_the_memory() -> None:
    book = SHIPPED.of("openai")
    for n in range(10_000):
        book.find(f"invented-{n}")
    assert len(book._found) <= 4096


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a table"),
        ("[]", "not a table"),
        ('{"version": "v"}', "providers"),
        ('{"version": "v", "providers": {"openai": {"m": {}}}}', "openai/m"),
        ('{"version": "v", "providers": {"openai": {"m": {"input": -1}}}}', "input"),
        ('{"version": "v", "providers": {"openai": {"m": {"input": "1"}}}}', "input"),
        ('{"version": "v", "providers": {"openai": {"m": {"input": 1, "outptu": 1}}}}', "outptu"),
        ('{"version": "v", "providers": {"openai": {"m": {"input": 1, "above": {"many": {}}}}}}', "above"),
        ('{"version": "a/b", "providers": {}}', "version"),
    ],
)
def test_a_table_with_one_mistake_is_no_table(text: str, says: str) -> None:
    with pytest.raises(PriceError, match=says):
        decode_table(text.encode())


def test_litellms_list_becomes_a_table() -> None:
    rows = {
        "sample_spec": {"litellm_provider": "openai", "input_cost_per_token": 1, "output_cost_per_token": 1},
        "gpt-9": {
            "litellm_provider": "openai",
            "input_cost_per_token": 2.5e-06,
            "output_cost_per_token": 1e-05,
            "input_cost_per_token_batches": 1.25e-06,
            "input_cost_per_token_above_200k_tokens": 5e-06,
            "cache_creation_input_token_cost_above_1hr": 6e-06,
            "regional_processing_uplift_multiplier_eu": 1.1,
            "provider_specific_entry": {"fast": 2, "us": 1.1, "of_no_interest": 3},
        },
        "gpt-latest": {"alias_of": "gpt-9"},
        "azure/eu/gpt-9": {"litellm_provider": "azure", "input_cost_per_token": 1, "output_cost_per_token": 1},
        "gemini/g": {"litellm_provider": "gemini", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
        "free": {"litellm_provider": "openai", "input_cost_per_token": 0, "output_cost_per_token": 0},
        "tts": {"litellm_provider": "openai", "input_cost_per_character": 1},
        "half": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "mode": "chat"},
        "e": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "mode": "embedding"},
        "ours": {"litellm_provider": "somebody-else", "input_cost_per_token": 1, "output_cost_per_token": 1},
    }
    written = json.loads(as_json(convert(json.dumps(rows).encode(), "v2", "2030-01-01")))
    assert written["providers"] == {
        "google": {"g": {"input": 1.0, "output": 1.0}},
        "openai": {
            "e": {"input": 1.0},
            "gpt-9": (
                gpt := {
                    "input": 2.5,
                    "output": 10.0,
                    "cache_write_1h": 6.0,
                    "above": {"200000": {"input": 5.0}},
                    "batch": {"input": 1.25},
                    "fast": {
                        "input": 5.0,
                        "output": 20.0,
                        "cache_write_1h": 12.0,
                        "above": {"200000": {"input": 10.0}},
                    },
                    "regions": {"us": 1.1, "eu": 1.1},
                }
            ),
            "gpt-latest": gpt,
        },
    }
    assert (written["version"], written["date"]) == ("v2", "2030-01-01")
    with pytest.raises(PriceError):
        convert(b'{"a": 1}', "v")


KEYS = (Path(__file__).parent / "litellm-keys.txt").read_text("ascii").split()
"""Every key with a price in the list that the shipped table is made from."""


def test_models_whose_price_is_no_amount_are_named() -> None:
    good = {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    rows = {
        "good": good,
        "text": {**good, "input_cost_per_token": "0.1"},
        "negative": {**good, "output_cost_per_token": -1},
        "another's": {**good, "litellm_provider": "nobody", "output_cost_per_token": -1},
    }
    text = json.dumps(rows).encode()
    assert odd_prices(text) == ["text", "negative"]
    assert json.loads(as_json(convert(text, "v")))["providers"]["openai"].keys() == {"good"}


def test_every_price_of_litellms_list_is_read_or_left_for_a_reason() -> None:
    assert len(KEYS) > 150
    listed = {"model": dict.fromkeys(KEYS, 1.0)}
    assert strangers(listed, READ) == []
    # Nothing is both, and no pattern is for nothing.
    for key in KEYS:
        assert (re.fullmatch("|".join(READ), key) is not None) != any(
            re.fullmatch(pattern, key) for pattern in UNREAD
        ), key
    for pattern in (*READ, *UNREAD):
        assert any(re.fullmatch(pattern, key) for key in KEYS), pattern
    assert strangers({"model": {"input_cost_per_thought": 1.0, "mode": "chat"}}, READ) == ["input_cost_per_thought"]


OF_ANOTHER_MODE = (
    *("input_cost_per_second", "output_cost_per_second", "input_cost_per_character", "output_cost_per_image"),
    *("ocr_cost_per_page", "code_interpreter_cost_per_session"),
)
BASE = {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "mode": "chat"}


@given(st.lists(st.sampled_from(KEYS), unique=True), st.sampled_from([0.5e-6, 3e-6]))
def test_a_price_that_is_read_is_in_the_entry_and_no_other_changes_it(keys: list[str], rate: float) -> None:
    def entry(row: dict[str, Any]) -> Any:
        row = row | ({"provider_specific_entry": {"fast": 2, "us": 3}} if "provider_specific_entry" in row else {})
        table = json.loads(as_json(convert(json.dumps({"m": row}).encode(), "v")))
        return table["providers"].get("openai", {}).get("m")

    read = [key for key in keys if re.fullmatch("|".join(READ), key) and key not in OF_ANOTHER_MODE]
    found = entry({**BASE, **dict.fromkeys(keys, rate)})
    if any(key in LEAVES_OUT for key in keys):
        assert found is None
        return
    assert found == entry({**BASE, **dict.fromkeys(read, rate)})
    for key in read:
        without = entry({**BASE, **dict.fromkeys((other for other in read if other != key), rate)})
        assert without != found or key in BASE or key in ("search_context_cost_per_query", "input_cost_per_query"), key


def test_the_table_takes_little_memory() -> None:
    script = (
        "import tracemalloc, proxy.prices as p\n"
        "tracemalloc.start()\n"
        "p.vendored(); p.Prices((p.vendored(),)).find('openai', 'gpt-4o')\n"
        "print(tracemalloc.get_traced_memory()[0])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 2 << 20
