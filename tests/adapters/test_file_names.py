"""The name of a file reaches every provider that has a field for it. Where there is none, or where it had to be
changed, that is told by the client's own word for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect, Outbound

PDF = "data:application/pdf;base64,JVBERi0="
BASE64 = "JVBERi0="
Bodies = dict[Dialect, tuple[dict[str, Any], str]]


def bodies(name: str | None) -> Bodies:
    """For each client, a request with one file, and the client's word for its name."""
    file = {"file_data": PDF} if name is None else {"file_data": PDF, "filename": name}
    document: dict[str, Any] = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}
    document["source"]["data"] = BASE64
    blob = {"mimeType": "application/pdf", "data": BASE64}
    if name is not None:
        document["title"] = blob["displayName"] = name
    return {
        Dialect.OPENAI_CHAT: (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]},
            "messages[].content[].file.filename",
        ),
        Dialect.OPENAI_RESPONSES: (
            {"input": [{"role": "user", "content": [{"type": "input_file", **file}]}]},
            "input[].content[].filename",
        ),
        Dialect.ANTHROPIC_MESSAGES: (
            {"max_tokens": 9, "messages": [{"role": "user", "content": [document]}]},
            "messages[].content[].title",
        ),
        Dialect.GEMINI_GENERATE: (
            {"contents": [{"role": "user", "parts": [{"inlineData": blob}]}]},
            "contents[].parts[].inlineData.displayName",
        ),
    }


CLIENTS = tuple(bodies(None))


def sent(client: Dialect, upstream: Dialect, name: str | None, *, named: bool = False) -> tuple[Any, Outbound, str]:
    """The file as `upstream` gets it, what went with it, and the client's word for its name."""
    body, word = bodies(name)[client]
    call = Call(client, "m", False, json.dumps(body).encode(), "1", 1, file_names=named)
    outbound = codec(client, upstream).request(call)
    made = json.loads(outbound.body)
    turn = made["contents"][0]["parts"] if "contents" in made else made["messages"][0]["content"]
    return turn[0], outbound, word


@pytest.mark.parametrize("client", CLIENTS)
def test_bedrock_and_anthropic_and_mistral_get_the_name(client: Dialect) -> None:
    if client is not Dialect.ANTHROPIC_MESSAGES:
        block, outbound, _ = sent(client, Dialect.ANTHROPIC_MESSAGES, "my paper.pdf")
        assert (block["title"], outbound.dropped) == ("my paper.pdf", ())
    block, outbound, _ = sent(client, Dialect.MISTRAL_CHAT, "my paper.pdf")
    assert (block["document_name"], outbound.dropped) == ("my paper.pdf", ())
    # The format says what the ending said.
    block, outbound, _ = sent(client, Dialect.BEDROCK_CONVERSE, "my paper.pdf")
    assert block["document"]["format"] == "pdf"
    assert (block["document"]["name"], outbound.dropped) == ("my paper", ())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("q3_report.pdf", "q3 report"),
        ("a  b.pdf", "a b"),
        ("Größe.pdf", "Gr e"),
        ("ignore/all.txt", "ignore all txt"),
        ("日本", "document"),
        ("x" * 300, "x" * 190),
    ],
)
def test_a_name_that_bedrock_would_refuse_is_changed_and_named(client: Dialect, name: str, fit: str) -> None:
    block, outbound, word = sent(client, Dialect.BEDROCK_CONVERSE, name)
    assert (block["document"]["name"], outbound.dropped) == (fit, (word,))


def test_names_of_bedrocks_documents_differ_within_a_request() -> None:
    file = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}
    body = {"messages": [{"role": "user", "content": [file, file]}]}
    call = Call(Dialect.OPENAI_CHAT, "m", False, json.dumps(body).encode(), "1", 1)
    outbound = codec(Dialect.OPENAI_CHAT, Dialect.BEDROCK_CONVERSE).request(call)
    content = json.loads(outbound.body)["messages"][0]["content"]
    assert [block["document"]["name"] for block in content] == ["a", "a 2"]
    assert outbound.dropped == ("messages[].content[].file.filename",)


@pytest.mark.parametrize("client", [each for each in CLIENTS if each is not Dialect.GEMINI_GENERATE])
def test_vertex_gets_the_name_and_geminis_own_api_does_not(client: Dialect) -> None:
    part, outbound, word = sent(client, Dialect.GEMINI_GENERATE, "a.pdf", named=True)
    assert (part["inlineData"]["displayName"], outbound.dropped) == ("a.pdf", ())
    part, outbound, word = sent(client, Dialect.GEMINI_GENERATE, "a.pdf")
    assert part == {"inlineData": {"mimeType": "application/pdf", "data": BASE64}}
    assert outbound.dropped == (word,)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("upstream", [Dialect.BEDROCK_CONVERSE, Dialect.GEMINI_GENERATE, Dialect.MISTRAL_CHAT])
def test_a_file_without_a_name_loses_none(client: Dialect, upstream: Dialect) -> None:
    if client is upstream:
        pytest.skip("bytes pass as they are")
    _, outbound, _ = sent(client, upstream, None)
    assert outbound.dropped == ()


def test_openai_gets_a_name_in_any_case() -> None:
    for client in (Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE):
        part, outbound, _ = sent(client, Dialect.OPENAI_CHAT, None)
        assert (part["file"]["filename"], outbound.dropped) == ("document.pdf", ())


@pytest.mark.parametrize("upstream", [Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE])
def test_images_have_no_name_there(upstream: Dialect) -> None:
    file = {"type": "file", "file": {"file_data": "data:image/png;base64,AAAA", "filename": "a.png"}}
    body = {"messages": [{"role": "user", "content": [file]}]}
    call = Call(Dialect.OPENAI_CHAT, "m", False, json.dumps(body).encode(), "1", 1)
    assert codec(Dialect.OPENAI_CHAT, upstream).request(call).dropped == ("messages[].content[].file.filename",)
    blob = {"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "a.png"}}
    gemini = json.dumps({"contents": [{"parts": [blob]}]}).encode()
    outbound = codec(Dialect.GEMINI_GENERATE, upstream).request(
        Call(Dialect.GEMINI_GENERATE, "m", False, gemini, "1", 1)
    )
    assert outbound.dropped == ("contents[].parts[].inlineData.displayName",)


PICTURE = "data:image/png;{};base64,iVBO"
BESIDE: list[tuple[dict[str, Any], str | None, tuple[str, ...]]] = [
    ({"type": "file", "file": {"file_data": PDF.replace(";", ";name=a%20b.pdf;", 1)}}, "a b.pdf", ()),
    (
        {"type": "file", "file": {"file_data": PDF.replace(";", ";name=b.pdf;", 1), "filename": "a.pdf"}},
        "a.pdf",
        ("messages[].content[].file.file_data.name",),
    ),
    ({"type": "file", "file": {"file_data": PDF.replace(";", ";charset=utf-8;", 1)}}, None, ()),
    (
        {"type": "file", "file": {"file_data": PDF, "mime_type": "text/csv"}},
        None,
        ("messages[].content[].file.file_data.type",),
    ),
    (
        {"type": "image_url", "image_url": {"url": PICTURE.format("name=a.png")}},
        None,
        ("messages[].content[].image_url.url.name",),
    ),
]


@pytest.mark.parametrize(("part", "name", "lost"), BESIDE, ids=lambda value: str(value)[:70])
@pytest.mark.parametrize("upstream", [Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE, Dialect.GEMINI_GENERATE])
def test_what_a_data_url_says_beside_its_data_arrives_or_is_named(
    upstream: Dialect, part: dict[str, Any], name: str | None, lost: tuple[str, ...]
) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    out = codec(Dialect.OPENAI_CHAT, upstream).request(
        Call(Dialect.OPENAI_CHAT, "m", False, body, "1", 1, file_names=True)
    )
    assert out.dropped == lost
    assert name is None or name.removesuffix(".pdf") in out.body.decode()
