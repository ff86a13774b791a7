"""Swap the virtual key and the model, and the same program works with another provider: every pair of dialects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.gateway import SEED_KEY, Gateway
from tests.matrix import table
from tests.matrix.cases import CASES, Answer, Failed, Seen
from tests.matrix.clients import CLIENTS
from tests.matrix.upstream import MESSAGE, RETRY_AFTER, Upstream, model

ROOT = Path(__file__).parents[2]


def config(url: str) -> dict[str, object]:
    """Virtual keys for all upstream dialects, at one address."""
    return {
        "virtual_keys": [
            {"slug": "m-openai", "provider": "moonshot", "key": "sk-1", "custom_host": f"{url}/v1"},
            {"slug": "m-responses", "provider": "openai", "key": "sk-4", "custom_host": f"{url}/v1"},
            {
                "slug": "m-recorded",
                "provider": "openai",
                "key": "sk-6",
                "custom_host": f"{url}/v1",
                "responses_models": "rec-*",
            },
            {"slug": "m-anthropic", "provider": "anthropic", "key": "sk-2", "custom_host": f"{url}/v1"},
            {"slug": "m-gemini", "provider": "google", "key": "sk-3", "custom_host": url},
            {
                "slug": "m-bedrock",
                "provider": "bedrock",
                "aws_access_key_id": "AKIA0000000000000000",
                "aws_secret_access_key": "not-a-secret",
                "aws_region": "eu-central-1",
                "custom_host": url,
            },
            {"slug": "m-cohere", "provider": "cohere", "key": "sk-5", "custom_host": url},
        ],
        "api_keys": [{"name": "matrix", "key": SEED_KEY, "scopes": ["inference"]}],
    }


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("matrix"), config(upstream.url)) as running:
        yield running


def expected(client: str, case: str) -> Seen:
    answer: Answer = CASES[case].answer
    calls = tuple((call.name, call.arguments) for call in answer.calls)
    return Seen(answer.text, calls, answer.thinking, answer.stop, answer.input, answer.output, answer.cached)


@pytest.mark.parametrize(
    ("client", "to", "case", "streamed"),
    [pytest.param(*cell, id=f"{cell[0]} > {cell[1]}: {cell[2]}{' streamed' * cell[3]}") for cell in table.cells()],
)
def test_an_sdk_reads_what_the_provider_said(
    gateway: Gateway, upstream: Upstream, client: str, to: str, case: str, streamed: bool
) -> None:
    slug, base = table.UPSTREAMS[to]
    before = len(upstream.bodies)

    seen = CLIENTS[client](gateway.url, SEED_KEY, slug, model(base, case), streamed)

    body = upstream.bodies[-1]
    assert len(upstream.bodies) > before
    if client != "OpenAI completions":
        assert [word for word in CASES[case].sent if word not in body] == []
    if CASES[case].cut:
        assert isinstance(seen, Failed), seen
        # Whether anything had been said already decides if there is a status to tell it with.
        assert seen.status in (0, 502)
    elif CASES[case].status != 200:
        assert isinstance(seen, Failed), seen
        assert seen.status == CASES[case].status
        assert MESSAGE in seen.message
        assert seen.retry_after == RETRY_AFTER
    else:
        assert seen == expected(client, case)


def test_the_page_in_the_docs_shows_these_cells() -> None:
    assert (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8") == table.page()
