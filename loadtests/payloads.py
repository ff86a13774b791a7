"""The requests that every target is asked: the same conversation in the dialect of the route."""

from __future__ import annotations

import json
from typing import Any, Literal

Dialect = Literal["openai", "anthropic"]

_PROSE = (
    'The caller wrote: "is the café open?" and pasted\n\tfor line in lines: print({"n": [1, 2, 3]})\n'
    "then asked, in two languages (你好, § 7), why tokens arrive late and who pays for the retries. "
)
_LONG_PROMPT_TURNS = 9


def prose(size: int) -> str:
    """About `size` bytes of text with the quotes, newlines and non-ASCII letters that prompts have."""
    unit = _PROSE.encode()
    return (unit * (size // len(unit) + 1))[:size].decode("utf-8", "ignore")


def request_body(dialect: Dialect, model: str, prompt_bytes: int, stream: bool) -> bytes:
    """A chat request of about `prompt_bytes`; prompts over 10 KB are spread over several turns."""
    system = "You are a helpful assistant. Answer briefly."
    turns = _LONG_PROMPT_TURNS if prompt_bytes > 10_000 else 1
    messages: list[dict[str, str]] = [
        {"role": "assistant" if turn % 2 else "user", "content": prose(prompt_bytes // turns)} for turn in range(turns)
    ]
    body: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 512}
    if dialect == "openai":
        messages.insert(0, {"role": "system", "content": system})
    else:
        body["system"] = system
    if stream:
        body["stream"] = True
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
