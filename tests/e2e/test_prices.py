"""Prices set over HTTP and on the command line are in force within a second, on every worker, and broken ones never."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.fakes.gateway import MASTER_KEY, Gateway, Upstream, standard

PATH = "/v1/model-configs/pricing/openai/some/model-9"


@pytest.fixture(scope="module")
def running(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("prices"), standard(session_upstream.url), workers=2) as gateway:
        yield gateway


def test_a_price_is_set_shown_and_taken_back(running: Gateway) -> None:
    assert running.admin("GET", PATH).status_code == 404
    put = running.admin("PUT", PATH, {"input": 2.5, "output": 10, "batch": {"input": 1.25}})
    assert put.status_code == 200, put.text
    running.until(
        lambda: all(running.admin("GET", PATH).status_code == 200 for _ in range(8)), "all workers know it", 2
    )
    shown = running.admin("GET", PATH).json()
    assert shown["rates"] == {"input": 2.5, "output": 10.0, "batch": {"input": 1.25}}
    assert shown["pay_as_you_go"]["request_token"] == {"price": 0.00025}
    assert shown["id"].startswith("api-")
    theirs = {"pay_as_you_go": {"request_token": {"price": 0.001}, "response_token": {"price": 0.002}}}
    assert running.admin("PUT", PATH, theirs).json()["rates"] == {"input": 10.0, "output": 20.0}
    assert running.admin("DELETE", PATH).status_code == 200
    assert running.admin("DELETE", PATH).status_code == 404
    running.until(lambda: all(running.admin("GET", PATH).status_code == 404 for _ in range(8)), "all forgot it", 2)


@pytest.mark.parametrize(
    "body", [{}, {"output": 1}, {"input": -1}, {"input": "1"}, {"inptu": 1}, {"pay_as_you_go": {"request_token": 1}}]
)
def test_a_malformed_price_is_refused(running: Gateway, body: dict[str, Any]) -> None:
    assert running.admin("PUT", PATH, body).status_code == 400
    assert running.admin("GET", PATH).status_code == 404


def test_prices_are_for_administrators_and_known_providers(running: Gateway) -> None:
    assert running.get(PATH).status_code == 403
    assert running.admin("GET", "/v1/model-configs/pricing/opnai/gpt-4o").status_code == 404


@pytest.fixture
def cli(running: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LOOPWAY_MASTER_KEY", MASTER_KEY)
    monkeypatch.delenv("LOOPWAY_DATABASE_URL", raising=False)

    def run(*words: str) -> tuple[int, str]:
        code = main([*words, "--data", str(running.data)])
        out, err = capsys.readouterr()
        return code, out + err

    return run


def price(gateway: Gateway, model: str) -> Any:
    answer = gateway.admin("GET", f"/v1/model-configs/pricing/openai/{model}")
    return answer.json()["rates"].get("input") if answer.status_code == 200 else None


def everywhere(gateway: Gateway, rate: Any) -> bool:
    """Whether each of the workers has this price, as far as many questions tell."""
    return all(price(gateway, "gpt-4o") == rate for _ in range(8))


def test_another_table_takes_the_place_of_the_shipped_one_and_goes(running: Gateway, cli: Any, tmp_path: Path) -> None:
    shipped = price(running, "gpt-4o")
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"version": "house-1", "providers": {"openai": {"gpt-4o": {"input": 77}}}}))
    code, said = cli("prices", "update", str(file))
    assert (code, "version house-1" in said) == (0, True)
    running.until(lambda: everywhere(running, 77), "the table is in force")

    file.write_text(json.dumps({"version": "house-2", "providers": {"openai": {"gpt-4o": {"input": "x"}}}}))
    code, said = cli("prices", "update", str(file))
    assert code == 1
    assert "stay as they were" in said
    assert price(running, "gpt-4o") == 77

    assert cli("prices", "reset")[0] == 0
    running.until(lambda: everywhere(running, shipped), "the shipped table is back")


def test_litellms_own_list_can_be_taken_over(running: Gateway, cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "model_prices.json"
    row = {"litellm_provider": "openai", "input_cost_per_token": 9e-6, "output_cost_per_token": 1e-6}
    file.write_text(json.dumps({"gpt-4o": row}))
    assert cli("prices", "update", str(file), "--version", "theirs-1")[0] == 0
    running.until(lambda: price(running, "gpt-4o") == 9, "the table is in force")
    assert "openai/gpt-4o" in cli("prices", "show", "--stored")[1]
    assert cli("prices", "reset")[0] == 0


def test_prices_are_shown(cli: Any) -> None:
    code, said = cli("prices", "show", "gpt-4o-mini", "--provider", "openai")
    assert code == 0
    assert said.startswith("openai/gpt-4o-mini  input 0.15  output 0.6")
    rows = json.loads(cli("prices", "show", "claude-sonnet-4-5", "--format", "json")[1])
    assert {row["provider"] for row in rows} >= {"anthropic"}
