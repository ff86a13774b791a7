"""How the nearest name is offered."""

from __future__ import annotations

from proxy.config.near import hint, nearest


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    assert nearest("Retires", ["retry", "cache"]) == "retry"
    assert nearest("xyz", ["retry", "cache"]) is None
    assert nearest("openai", ["OpenAI"]) == "OpenAI"


def test_a_hint_names_the_nearest_or_the_few_or_nothing() -> None:
    assert hint("atempts", ["attempts", "cache"]) == "; did you mean 'attempts'?"
    assert hint("xyz", ["retry", "cache"]) == "; known here: retry, cache"
    assert hint("xyz", [f"name{number}" for number in range(50)]) == ""
    assert hint("xyz", []) == ""
