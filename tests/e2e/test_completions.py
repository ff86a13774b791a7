"""Text completions: the legacy endpoints where models know no other, the bridge to chat everywhere else."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import SAID, TEST
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, Upstream

PLACES = {
    "openai legacy": (f"@{OPENAI_SLUG}/gpt-3.5-turbo-instruct", "/v1/completions"),
    "openai bridged": (f"@{OPENAI_SLUG}/gpt-4o", "/v1/chat/completions"),
    "anthropic legacy": (f"@{ANTHROPIC_SLUG}/claude-2", "/v1/complete"),
    "anthropic instant": (f"@{ANTHROPIC_SLUG}/claude-instant-1.2", "/v1/complete"),
    "claude 3 bridged": (f"@{ANTHROPIC_SLUG}/claude-3-5-sonnet-20241022", "/v1/messages"),
    "claude 4 bridged": (f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5", "/v1/messages"),
    "alias bridged": ("@anthropic-aliases/claude-2", "/v1/messages"),
}
everywhere = pytest.mark.parametrize(("model", "path"), PLACES.values(), ids=PLACES)


@everywhere
def test_a_prompt_is_completed(model: str, path: str, openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client().completions.create(model=model, prompt=TEST, max_tokens=250)
    assert answer.object == "text_completion"
    assert answer.choices[0].text.strip() == SAID
    assert answer.choices[0].index == 0
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id
    assert answer.created > 0
    assert upstream.last.path == path


@everywhere
def test_a_completion_is_streamed(model: str, path: str, openai_client: Make, upstream: Upstream) -> None:
    chunks = list(openai_client().completions.create(model=model, prompt=TEST, max_tokens=250, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks).strip() == SAID
    assert len(chunks) > 2
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert upstream.last.path == path


@everywhere
def test_a_completion_that_is_too_long_says_so(model: str, path: str, openai_client: Make) -> None:
    answer = openai_client().completions.create(model=model, prompt=TEST, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"


def test_claude_2_is_asked_in_its_own_words(openai_client: Make, upstream: Upstream) -> None:
    openai_client().completions.create(
        model=PLACES["anthropic legacy"][0],
        prompt=TEST,
        max_tokens=250,
        temperature=0.5,
        stop="END",
        user="u-1",
    )
    assert upstream.last.json() == {
        "model": "claude-2",
        "prompt": f"\n\nHuman: {TEST}\n\nAssistant:",
        "max_tokens_to_sample": 250,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
    }


def test_a_prompt_in_claudes_own_form_is_left_alone(openai_client: Make, upstream: Upstream) -> None:
    prompt = f"\n\nHuman: {TEST}\n\nAssistant:"
    answer = openai_client().completions.create(model=PLACES["anthropic legacy"][0], prompt=prompt, max_tokens=250)
    assert upstream.last.json()["prompt"] == prompt
    assert answer.choices[0].text.strip() == SAID


def test_without_a_limit_claude_2_gets_one(openai_client: Make, upstream: Upstream) -> None:
    openai_client().completions.create(model=PLACES["anthropic legacy"][0], prompt=TEST)
    assert upstream.last.json()["max_tokens_to_sample"] > 0


@pytest.mark.parametrize("place", ["openai bridged", "claude 4 bridged"])
def test_the_bridge_sends_the_prompt_as_one_user_message(place: str, openai_client: Make, upstream: Upstream) -> None:
    openai_client().completions.create(model=PLACES[place][0], prompt=TEST, max_tokens=100, stop=["END"])
    sent = upstream.last.json()
    message = sent["messages"][0]
    text: Any = message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
    assert (message["role"], text) == ("user", TEST)
    assert "prompt" not in sent


@pytest.mark.parametrize("place", ["openai legacy", "openai bridged", "claude 4 bridged"])
def test_usage_is_told(place: str, openai_client: Make) -> None:
    usage = openai_client().completions.create(model=PLACES[place][0], prompt=TEST, max_tokens=100).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 4, 9)


@pytest.mark.parametrize("place", ["openai bridged", "claude 4 bridged"])
def test_streamed_usage_comes_last_where_it_is_asked_for(place: str, openai_client: Make) -> None:
    chunks = list(
        openai_client().completions.create(
            model=PLACES[place][0], prompt=TEST, max_tokens=9, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 9


@everywhere
def test_a_stream_that_the_provider_cuts_ends_in_an_error(model: str, path: str, openai_client: Make) -> None:
    stream = openai_client().completions.create(
        model=f"{model}::chunks=20,fin_after=1500", prompt=TEST, max_tokens=250, stream=True
    )
    seen: list[Any] = []
    with pytest.raises(openai.APIError):
        seen.extend(stream)
    assert seen


@everywhere
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_providers_error_keeps_its_status(model: str, path: str, status: int, openai_client: Make) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        openai_client().completions.create(model=f"{model}::status={status}", prompt=TEST, max_tokens=250)
    assert raised.value.status_code == status
    assert raised.value.body["message"]


def test_a_list_of_one_prompt_is_a_prompt(openai_client: Make) -> None:
    answer = openai_client().completions.create(model=PLACES["claude 4 bridged"][0], prompt=[TEST], max_tokens=100)
    assert answer.choices[0].text.strip() == SAID


def test_what_the_bridge_cannot_carry_is_refused_with_its_name(openai_client: Make, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client().completions.create(model=PLACES["claude 4 bridged"][0], prompt=[1, 2, 3], max_tokens=100)
    assert raised.value.body["param"] == "prompt"
    assert upstream.requests() == []
