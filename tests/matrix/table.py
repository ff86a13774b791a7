"""Which cells the matrix has, and the page that is made of them.

python -m tests.matrix.table > docs/compatibility.md
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tests.matrix.cases import CASES
from tests.matrix.clients import CLIENTS, SDKS
from tests.matrix.explained import ALIKE, EXPLAINED, READ, RECORDED, Reason

UPSTREAMS: dict[str, tuple[str, str]] = {
    "OpenAI chat": ("m-openai", "deepseek-reasoner"),
    "OpenAI Responses": ("m-responses", "gpt-5-pro"),
    "Anthropic Messages": ("m-anthropic", "claude-sonnet-4-5"),
    "Gemini": ("m-gemini", "gemini-2.5-flash"),
    "Bedrock Converse": ("m-bedrock", "amazon.nova-pro-v1:0"),
    "Anthropic on Bedrock": ("m-bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "Cohere v2": ("m-cohere", "command-a-reasoning-08-2025"),
}
"""Upstream dialects: the virtual key that leads there, and a model."""

_TEXT_ONLY = "text completions have no place for it"
_HIDDEN = "OpenAI's own shape has no place for it; without strict compliance it is there"


def absent(client: str, case: str) -> str | None:
    """Why a client dialect cannot have a case; None: it can."""
    if client == "OpenAI completions" and case not in ("text", "length", "error", "cut"):
        return _TEXT_ONLY
    if client == "OpenAI chat" and case == "thinking":
        return _HIDDEN
    return None


def cells() -> Iterator[tuple[str, str, str, bool]]:
    """Client, upstream, case, and whether the answer streams."""
    for client in CLIENTS:
        for upstream in UPSTREAMS:
            for case in CASES:
                if absent(client, case) is None:
                    yield from ((client, upstream, case, streamed) for streamed in (False, True))


def page() -> str:
    """The page in the docs."""
    lines = [
        "# What works with what",
        "",
        "Every client dialect towards every upstream dialect, whole and streamed. Each ✓ is a test that runs the",
        "official SDK of the client's dialect against the real gateway, with an upstream that speaks the other one. It",
        "compares what the SDK reads with what the provider said: text, tool calls and their arguments, thinking, stop",
        "reason, and usage with cached tokens. `error` is a 429 whose status, message and `retry-after` reach the SDK;",
        "`cut` is a connection that breaks off in the middle, which the SDK must learn as an error and never as the",
        "end of an answer.",
        "",
        "This page is made by `python -m tests.matrix.table`, and a test compares it.",
        "",
    ]
    for client in CLIENTS:
        lines += [f"## {client} (SDK: {SDKS[client]})", ""]
        lines.append("| upstream | " + " | ".join(CASES) + " |")
        lines.append("|---" * (len(CASES) + 1) + "|")
        marks = ["–" if absent(client, case) else "✓" for case in CASES]
        lines += [f"| {upstream} | " + " | ".join(marks) + " |" for upstream in UPSTREAMS]
        reasons = {reason: case for case in CASES if (reason := absent(client, case))}
        lines += ["", *(f"–: {reason}." for reason in reasons), *([""] if reasons else [])]
    return "\n".join([*lines, *_replayed()]).rstrip() + "\n"


def _replayed() -> Iterator[str]:
    """What comes of real providers' answers."""
    yield "## Real answers"
    yield ""
    yield from textwrap.wrap(
        f"`python -m tests.matrix.replay` serves {RECORDED} recorded chat answers of real providers as the upstream, "
        "whole, streamed and refused. Each is read by its own SDK without the gateway, and through the gateway by the "
        "SDKs of all other dialects that have a place for it; these must read the same text, tool calls, stop reason "
        f"and usage, or the same status and message. **{ALIKE} of {READ}** do. The others, by recording:",
        112,
    )
    yield ""
    names: dict[Reason, list[str]] = {}
    for (name, _), reason in EXPLAINED.items():
        names.setdefault(reason, []).append(name)
    for reason, recordings in names.items():
        spared = f" ({', '.join(reason.spares)} need not.)" if reason.spares else ""
        yield from textwrap.wrap(reason.words + spared, 112, initial_indent="- ", subsequent_indent="  ")
        yield from (f"  - `{name}`" for name in recordings)


if __name__ == "__main__":
    print(page(), end="")
