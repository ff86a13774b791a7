"""The section `prices:` of the configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from adapters.types import Usage
from proxy.config.file import load
from proxy.errors import ConfigError
from proxy.prices import Prices, vendored

SAME = (
    ("prod", "gpt-4o"),
    ("dated", "gpt-4o-2024-08-06"),
    ("other", "openai/gpt-5.4"),
    ("twice", "prod"),
    ("itself", "itself"),
    ("nobody", "openai/gpt-from-next-year"),
)

MINE = """
    prices:
      models:
        openai:
          gpt-9: {input: 1, output: 2, cache_read: 0.5, above: {200000: {input: 4}}, flex: {input: 0.25}}
          "gpt-8*": {input: 3}
        ollama: {"*": {input: 0, output: 0}}
"""
TABLE = {"version": "house-7", "providers": {"openai": {"gpt-7": {"input": 7.0}}}}


def prices(folder: Path, text: str) -> Prices:
    (folder / "loopway.yaml").write_text(dedent(text))
    return Prices(load(folder / "loopway.yaml", {}).prices.tables)


def findings(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        prices(folder, text)
    return [line.removeprefix(f"{folder}/") for line in caught.value.findings]


def test_prices_of_the_file_are_found(tmp_path: Path) -> None:
    found = prices(tmp_path, MINE)
    price = found.find("openai", "gpt-9")
    assert price is not None
    assert price.cost(Usage(1_000_000, 0)) == 4.0
    assert price.cost(Usage(100_000, 0, tier="flex")) == 0.025
    assert price.id.startswith("file-")
    assert found.find("openai", "gpt-8-mini").id.endswith(":openai/gpt-8*")  # type: ignore[union-attr]
    assert found.find("ollama", "llama").cost(Usage(5, 5)) == 0.0  # type: ignore[union-attr]


def test_a_changed_price_has_another_id(tmp_path: Path) -> None:
    first = prices(tmp_path, MINE).find("openai", "gpt-9")
    second = prices(tmp_path, MINE.replace("output: 2", "output: 3")).find("openai", "gpt-9")
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_table_of_ones_own_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(TABLE))
    text = MINE + "      file: mine.json\n"
    assert prices(tmp_path, text).find("openai", "gpt-7").id == "house-7:openai/gpt-7"  # type: ignore[union-attr]
    loaded = load(tmp_path / "loopway.yaml", {})
    assert tmp_path / "mine.json" in loaded.files
    (tmp_path / "mine.json").write_text(json.dumps(TABLE | {"version": "house-8"}))
    assert load(tmp_path / "loopway.yaml", {}).digest != loaded.digest


def test_a_model_under_a_name_of_ones_own_has_the_prices_of_another(tmp_path: Path) -> None:
    lines = ("azure-openai:", *(f"      {name}: {{same_as: {other}}}" for name, other in SAME))
    prices(tmp_path, "prices:\n  models:\n    " + "\n".join(lines) + "\n")
    found = Prices((*load(tmp_path / "loopway.yaml", {}).prices.tables, vendored()))
    ids = {
        name: price and price.id.partition(":")[2] for name, _ in SAME for price in (found.find("azure-openai", name),)
    }
    assert ids == {
        "prod": "azure-openai/gpt-4o",
        "dated": "azure-openai/gpt-4o-2024-08-06",
        "other": "openai/gpt-5.4",
        "twice": None,
        "itself": None,
        "nobody": None,
    }
    assert found.of("azure-openai", "eu").find("other").id.endswith("@eu")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gpt: {output: 1}", "loopway.yaml:5:10: prices.models.openai.gpt: needs 'input', or the price of a piece"),
        ("gpt: {input: -1}", "loopway.yaml:5:18: prices.models.openai.gpt.input: must be from 0"),
        ("gpt: {input: free}", "loopway.yaml:5:18: prices.models.openai.gpt.input: expected a number"),
        ("gpt: {input: 1, outptu: 1}", "loopway.yaml:5:21: prices.models.openai.gpt.outptu: unknown key"),
        (
            "gpt: {input: 1, above: {many: {}}}",
            "loopway.yaml:5:29: prices.models.openai.gpt.above.many: expected a number",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: str, says: str) -> None:
    (found,) = findings(tmp_path, f"\nprices:\n  models:\n   openai:\n    {line}\n")
    assert found.startswith(says)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("{}", "cannot be used"), ('{"version":"v","providers":3}', "cannot")]
)
def test_a_table_that_cannot_be_used_is_refused_whole(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    (found,) = findings(tmp_path, "prices: {file: mine.json}")
    assert says in found
