"""The capability report over HTTP and on the command line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from adapters.providers import PROVIDERS, RETIRED
from proxy.capabilities import ROUTES
from proxy.cli.providers import providers
from proxy.errors import Refused
from proxy.routes import AdminRequest, Answer


async def asked(**query: str) -> Answer:
    handler = ROUTES[0].handler
    assert handler is not None
    return await handler(None, AdminRequest("GET", ROUTES[0].path, {}, query, b"", "k", "r", frozenset()))  # type: ignore[arg-type]


async def test_the_report_has_every_provider_and_every_one_that_is_no_more() -> None:
    value: dict[str, Any] = (await asked()).value
    assert {entry["provider"] for entry in value["data"]} == PROVIDERS.keys() | RETIRED.keys()
    assert value["total"] == len(value["data"])
    assert msgspec.json.encode(value)


async def test_one_provider_can_be_asked_for_alone() -> None:
    (entry,) = (await asked(provider="anthropic")).value["data"]
    chat = next(each for each in entry["operations"] if each["dialect"] == "openai.chat")
    assert chat["support"] == "translated"
    assert chat["parameters"]["stop"] == {"fate": "mapped", "to": ("stop_sequences",)}


@pytest.mark.parametrize(("name", "status"), [("antropic", 400), ("palm", 410)])
async def test_an_unknown_provider_and_one_that_is_no_more_are_told_apart(name: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        await asked(provider=name)
    assert refused.value.status == status
    assert "anthropic" in refused.value.message or "Gemini" in refused.value.message


def test_the_command_lists_all_and_explains_one() -> None:
    listed = CliRunner().invoke(providers)
    assert listed.exit_code == 0
    assert all(name in listed.output for name in PROVIDERS)
    explained = CliRunner().invoke(providers, ["anthropic"])
    assert "stop: becomes stop_sequences" in explained.output
    homeless = CliRunner().invoke(providers, ["lambda"])
    assert homeless.output.splitlines()[1] == PROVIDERS["lambda"].ended
    as_json = CliRunner().invoke(providers, ["--json", "groq"])
    assert msgspec.json.decode(as_json.output)[0]["provider"] == "groq"


def test_the_command_says_of_providers_without_a_dialect_that_nothing_is_translated() -> None:
    listed = CliRunner().invoke(providers).output.splitlines()
    for name in ("triton", "stability-ai", "segmind", "recraft-ai", "replicate"):
        assert any(line.split() == [name, "passed", "through"] for line in listed)
        explained = CliRunner().invoke(providers, [name])
        assert "Nothing is translated" in explained.output
    assert "Nothing is translated" not in CliRunner().invoke(providers, ["groq"]).output
