"""Requests that several tests make."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tests.fakes.gateway import ANTHROPIC_SLUG, GOOGLE_SLUG, OPENAI_SLUG

GPT = f"@{OPENAI_SLUG}/gpt-4o"
CLAUDE = f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5"
GEMINI = f"@{GOOGLE_SLUG}/gemini-2.5-flash"
TEST = "Say this is a test"
SAID = "This is a test."
HELLO: list[Any] = [{"role": "user", "content": TEST}]

PIXEL = b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c636060f8ff1f00030001ff75f5a60000000049454e44ae426082"
    )
).decode()
PDF = b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
OPENAI_TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": f"The {name} of a city", "parameters": CITY}}
    for name in ("weather", "time")
]
ANTHROPIC_TOOLS: list[Any] = [
    {"name": name, "description": f"The {name} of a city", "input_schema": CITY} for name in ("weather", "time")
]
USE_BOTH = "Use the tools weather and time for Paris"


def text_of(stream: Any) -> str:
    """The text of a stream of chat chunks."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
