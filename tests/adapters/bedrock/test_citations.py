"""What a text of Converse's rests on reaches every client in its own words, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect
from tests.adapters.bedrock.streams import END, START, STOP, call, delta, event, stopped

URL = "https://docs.example/nova"
WEB = {"title": "Nova", "sourceContent": [{"text": "as"}, {"text": " said"}], "location": {"web": {"url": URL}}}
PAGE = {"title": "a.pdf", "location": {"documentPage": {"documentIndex": 1, "start": 2, "end": 3}}}
FOUND = {
    "source": "https://a.example/b",
    "location": {"searchResultLocation": {"searchResultIndex": 1, "start": 0, "end": 2}},
}
PIECE = {"location": {"documentChunk": {"start": 4, "end": 5}}}
CHARS = {"location": {"documentChar": {"start": 4, "end": 5}}}
NOWHERE = {"source": "an archive"}
CITED = [WEB, PAGE, FOUND, PIECE, CHARS, NOWHERE]
ANSWER = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"text": "So: "},
                {"citationsContent": {"content": [{"text": "Nova "}, {"text": "grounds."}], "citations": CITED}},
                {"citationsContent": {"content": [{"text": " End."}], "citations": None}},
            ],
        }
    },
    "stopReason": "end_turn",
}
STREAM = (
    START
    + delta(0, {"text": "So: "})
    + STOP
    + delta(1, {"text": "Nova "})
    + b"".join(delta(1, {"citation": each}) for each in CITED)
    + delta(1, {"text": "grounds."})
    + event("contentBlockStop", {"contentBlockIndex": 1})
    + delta(2, {"text": " End."})
    + event("contentBlockStop", {"contentBlockIndex": 2})
    + stopped("end_turn")
    + END
)
SOURCES = [
    {
        "type": "web_search_result_location",
        "cited_text": "as said",
        "url": URL,
        "title": "Nova",
        "encrypted_index": "",
    },
    {
        "type": "page_location",
        "cited_text": "",
        "document_index": 1,
        "document_title": "a.pdf",
        "start_page_number": 2,
        "end_page_number": 3,
    },
    {
        "type": "search_result_location",
        "cited_text": "",
        "source": "https://a.example/b",
        "title": None,
        "search_result_index": 1,
        "start_block_index": 0,
        "end_block_index": 2,
    },
    {
        "type": "content_block_location",
        "cited_text": "",
        "document_index": 0,
        "document_title": None,
        "start_block_index": 4,
        "end_block_index": 5,
    },
    {
        "type": "char_location",
        "cited_text": "",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 4,
        "end_char_index": 5,
    },
    {
        "type": "web_search_result_location",
        "cited_text": "",
        "url": "an archive",
        "title": "an archive",
        "encrypted_index": "",
    },
]
PLACES = [(URL, "Nova", 4, 17), ("https://a.example/b", "", 4, 17)]
ASKED: dict[Dialect, dict[str, Any]] = {
    Dialect.OPENAI_CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    Dialect.ANTHROPIC_MESSAGES: {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    Dialect.OPENAI_RESPONSES: {"input": "hi"},
    Dialect.GEMINI_GENERATE: {"contents": [{"parts": [{"text": "hi"}]}]},
}


def answer(client: Dialect, strict: bool = True, cut: int | None = None, streamed: bool = False) -> Any:
    """The whole answer, or the data of all events."""
    body = json.dumps(ASKED[client]).encode()
    asked = call(raw=body, dialect=client, model="amazon.nova-2-lite-v1:0", stream=streamed, strict=strict)
    return translated(client, asked, cut)


def translated(client: Dialect, asked: Call, cut: int | None) -> Any:
    made = codec(client, Dialect.BEDROCK_CONVERSE)
    if not asked.stream:
        return json.loads(made.response(asked, json.dumps(ANSWER).encode()).body)
    machine = made.stream(asked)
    pieces = (STREAM,) if cut is None else (STREAM[:cut], STREAM[cut:])
    out = b"".join(map(machine.feed, pieces)) + machine.close()
    assert machine.error is None
    lines = [line[6:] for line in out.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def flat(annotations: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    cited = [each.get("url_citation", each) for each in annotations]
    return [(each["url"], each["title"], each["start_index"], each["end_index"]) for each in cited]


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_gets_annotations_and_all_of_it_in_its_blocks(streamed: bool) -> None:
    if not streamed:
        message = answer(Dialect.OPENAI_CHAT, strict=False)["choices"][0]["message"]
        assert message["content"] == "So: Nova grounds. End."
        assert flat(message["annotations"]) == PLACES
        assert [block.get("citations") for block in message["content_blocks"]] == [None, SOURCES, None]
        assert "content_blocks" not in answer(Dialect.OPENAI_CHAT)["choices"][0]["message"]
        return
    deltas = [each["choices"][0]["delta"] for each in answer(Dialect.OPENAI_CHAT, strict=False, streamed=True)]
    assert [flat(each["annotations"]) for each in deltas if "annotations" in each] == [PLACES]
    blocks = [block for each in deltas for block in each.get("content_blocks", ())]
    assert [each["delta"]["citation"] for each in blocks if "citation" in each["delta"]] == SOURCES
    assert {each["index"] for each in blocks if "citation" in each["delta"]} == {1}


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_get_citations(streamed: bool) -> None:
    told = answer(Dialect.ANTHROPIC_MESSAGES, streamed=streamed)
    if not streamed:
        assert [block.get("citations") for block in told["content"]] == [None, SOURCES, None]
        assert "".join(block["text"] for block in told["content"]) == "So: Nova grounds. End."
        return
    deltas = [each["delta"] for each in told if each["type"] == "content_block_delta"]
    assert [each["citation"] for each in deltas if each["type"] == "citations_delta"] == SOURCES


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_get_annotations(streamed: bool) -> None:
    told = answer(Dialect.OPENAI_RESPONSES, streamed=streamed)
    whole = told[-1]["response"] if streamed else told
    parts = [part for item in whole["output"] if item["type"] == "message" for part in item["content"]]
    assert "".join(part["text"] for part in parts) == "So: Nova grounds. End."
    assert [each[:2] for part in parts for each in flat(part["annotations"])] == [each[:2] for each in PLACES]
    places = [part["text"][each["start_index"] : each["end_index"]] for part in parts for each in part["annotations"]]
    assert places == ["Nova grounds."] * 2


@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_gets_grounding(streamed: bool) -> None:
    told = answer(Dialect.GEMINI_GENERATE, streamed=streamed)
    candidates = [each["candidates"][0] for each in (told if streamed else [told]) if each.get("candidates")]
    grounding = [each["groundingMetadata"] for each in candidates if "groundingMetadata" in each][-1]
    assert [each["web"]["uri"] for each in grounding["groundingChunks"]] == [each[0] for each in PLACES]
    assert grounding["groundingSupports"]


def test_sources_are_told_whole_wherever_the_stream_is_cut() -> None:
    whole = answer(Dialect.ANTHROPIC_MESSAGES, streamed=True)
    for cut in range(1, len(STREAM), 29):
        assert answer(Dialect.ANTHROPIC_MESSAGES, cut=cut, streamed=True) == whole


def test_documents_may_ask_to_be_cited() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    part = {"type": "document", "source": source, "title": "a", "context": "of May", "citations": {"enabled": True}}
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    out = codec(Dialect.OPENAI_CHAT, Dialect.BEDROCK_CONVERSE).request(call(raw=body))
    document = json.loads(out.body)["messages"][0]["content"][0]["document"]
    assert (document["citations"], document["context"], out.dropped) == ({"enabled": True}, "of May", ())


def history(client: Dialect, model: str) -> tuple[list[Any], tuple[str, ...]]:
    """What a model is told of its own answer in the next turn, and what is named."""
    said: dict[str, Any] = {"role": "assistant"}
    if client is Dialect.ANTHROPIC_MESSAGES:
        said["content"] = answer(client)["content"]
    else:
        blocks = answer(client, strict=False)["choices"][0]["message"]["content_blocks"]
        said |= {"content": "So: Nova grounds. End.", "content_blocks": blocks}
    asked = {**ASKED[client], "messages": [*ASKED[client]["messages"], said, {"role": "user", "content": "more"}]}
    call_of = call(raw=json.dumps(asked).encode(), dialect=client, model=model)
    sent = codec(client, Dialect.BEDROCK_CONVERSE).request(call_of)
    return json.loads(sent.body)["messages"][1]["content"], sent.dropped


PLACED = [
    {"title": "a.pdf", "location": {"documentPage": {"documentIndex": 1, "start": 2, "end": 3}}},
    FOUND,
    {"location": {"documentChunk": {"documentIndex": 0, "start": 4, "end": 5}}},
    {"location": {"documentChar": {"documentIndex": 0, "start": 4, "end": 5}}},
]
WEBS = [
    {"title": "Nova", "sourceContent": [{"text": "as said"}], "location": {"web": {"url": URL}}},
    {"title": "an archive", "location": {"web": {"url": "an archive"}}},
]
KNOWN = {"amazon.nova-2-lite-v1:0": WEBS, "anthropic.claude-sonnet-4-5": PLACED, "meta.llama3": []}


@pytest.mark.parametrize("client", [Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT])
@pytest.mark.parametrize("model", KNOWN)
def test_a_model_gets_the_sources_back_that_it_gives_itself(client: Dialect, model: str) -> None:
    content, dropped = history(client, model)
    cited = [block["citationsContent"] for block in content if "citationsContent" in block]
    expected = KNOWN[model]
    assert cited == ([{"content": [{"text": "Nova grounds."}], "citations": expected}] if expected else [])
    blocks = "content" if client is Dialect.ANTHROPIC_MESSAGES else "content_blocks"
    assert dropped == (f"messages[].{blocks}[].citations",)
