"""Which clients are told what of Converse's answers; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.unsaid import (
    ALL,
    BLOCKS,
    CHAT,
    GEMINI,
    ITEMS,
    MESSAGES,
    SHOWING,
    SPEAKING,
    Looks,
    Shape,
    Told,
    every,
    only,
)

_WRITTEN = ALL & ~GEMINI
_LASTING = BLOCKS | MESSAGES

_STOP = Told(
    words={
        **every(ALL, "end_turn", "max_tokens", "tool_use", "guardrail_intervened", "content_filtered"),
        **every(
            BLOCKS,
            "stop_sequence",
            "malformed_model_output",
            "malformed_tool_use",
            "model_context_window_exceeded",
        ),
    }
)

_REASONING = Told(
    SHOWING,
    {
        "reasoningText": Told(SHOWING, {**every(SHOWING, "text", "signature")}),
        "redactedContent": SHOWING,
    },
)

_CALLED = Told(SPEAKING, {**every(SPEAKING, "name", "toolUseId", "input"), "type": only("tool_use")})
_PLACED = BLOCKS | MESSAGES
_PLACE = Told(_PLACED, every(_PLACED, "documentIndex", "searchResultIndex", "start", "end"))
_CITATION = Told(
    SPEAKING,
    {
        "title": SPEAKING,
        "source": _PLACED,
        "sourceContent": Told(_PLACED, every(_PLACED, "text")),
        "location": Told(
            SPEAKING,
            {
                "web": Told(SPEAKING, every(SPEAKING, "url", "domain")),
                **dict.fromkeys(("documentChar", "documentPage", "documentChunk", "searchResultLocation"), _PLACE),
            },
        ),
    },
)

_BLOCK: Shape = {
    "text": ALL,
    "toolUse": _CALLED,
    "reasoningContent": _REASONING,
    "image": Told(SHOWING, {"format": SHOWING, "source": Told(SHOWING, {"bytes": SHOWING})}),
    "citationsContent": Told(shape={"content": Told(shape={"text": ALL}), "citations": _CITATION}),
}

_USAGE = Told(
    shape={
        **every(ALL, "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens"),
        **every(ALL, "cacheReadInputTokenCount", "cacheWriteInputTokenCount"),  # the same once more
        "cacheWriteInputTokens": _WRITTEN,
        "cacheDetails": Told(
            _WRITTEN,
            kinds={"5m": Told(_WRITTEN, {"inputTokens": _WRITTEN}), "1h": Told(_LASTING, {"inputTokens": _LASTING})},
            tag="ttl",
        ),
    }
)

_END: Shape = {
    "usage": _USAGE,
    "metrics": Told(shape={"latencyMs": ALL}),  # the gateway's own clock tells it
    "performanceConfig": Told(shape={"latency": only("standard")}),
    "serviceTier": Told(
        shape={"type": Told(words={"default": ALL, "priority": SPEAKING, "flex": CHAT | ITEMS | GEMINI})}
    ),
}

_ANSWER: Shape = {
    "output": Told(shape={"message": Told(shape={"role": ALL, "content": Told(shape=_BLOCK)})}),
    "stopReason": _STOP,
    **_END,
}

_EVENT: Shape = {"contentBlockIndex": ALL, "p": ALL}
"""`p` is padding, so that nobody reads tokens from the lengths of events."""

ANSWERS = Looks(
    {
        b"": _ANSWER,
        b"contentBlockStart": {
            **_EVENT,
            "start": Told(
                shape={"toolUse": Told(SPEAKING, {**every(SPEAKING, "name", "toolUseId"), "type": only("tool_use")})}
            ),
        },
        b"contentBlockDelta": {
            **_EVENT,
            "delta": Told(
                shape={
                    "text": ALL,
                    "citation": _CITATION,
                    "toolUse": Told(SPEAKING, {"input": SPEAKING}),
                    "reasoningContent": Told(SHOWING, {**every(SHOWING, "text", "signature", "redactedContent")}),
                }
            ),
        },
        b"messageStop": {**_EVENT, "stopReason": _STOP},
        b"metadata": {**_EVENT, **_END},
    }
)
"""Whole ones, and the events that may bring more than words."""
