"""The gaps between a stream's events, as they came: verbatim and translated."""

from __future__ import annotations

import re

import pytest

from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, Launch, Upstream, standard
from tests.fakes.provider import HELLO


@pytest.mark.parametrize(("slug", "model"), [(OPENAI_SLUG, "gpt-4o"), (ANTHROPIC_SLUG, "claude-sonnet-4-5")])
def test_the_gaps_of_a_stream_are_in_the_metrics(launch: Launch, upstream: Upstream, slug: str, model: str) -> None:
    gateway = launch(standard(upstream.url))
    body = {"model": f"@{slug}/{model}::gap=120,chunks=6", "messages": HELLO, "stream": True}
    answer = gateway.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text

    def sample(name: str) -> float:
        found = re.search(
            rf"^loopway_inter_token_gap_seconds_{name} (\S+)$", gateway.get("/metrics").text, re.MULTILINE
        )
        return float(found[1]) if found else 0.0

    count = gateway.until(lambda: sample(r"count\{.*\}"), "the stream has settled")
    events = len(re.findall(r"^data:", answer.text, re.MULTILINE))
    assert count >= events - 2, "each event but the first ends a gap"
    assert count - sample(r'bucket\{.*le="0.1"\}') >= 3, "the mock's own gaps are among the long ones"
    assert sample(r"sum\{.*\}") > 5 * 0.12 * 0.9
