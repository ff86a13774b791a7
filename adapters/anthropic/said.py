"""Which clients are told what of Anthropic's answers; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.unsaid import (
    ALL,
    BLOCKS,
    CHAT,
    GEMINI,
    ITEMS,
    MESSAGES,
    NONE,
    SHOWING,
    SPEAKING,
    Looks,
    Shape,
    Told,
    every,
    only,
)

_STOP = {
    **every(ALL, "end_turn", "max_tokens", "tool_use", "refusal"),
    **every(BLOCKS, "stop_sequence", "pause_turn", "model_context_window_exceeded", "compaction"),
}
"""Strict clients get the next best of OpenAI's words."""

_REFUSED = Told(kinds={"refusal": Told(shape={"explanation": ALL})})

_CITATION = Told(
    BLOCKS | SPEAKING,
    kinds={
        "web_search_result_location": Told(SPEAKING, {**every(SPEAKING, "url", "title")}),
    },
    whole=BLOCKS | MESSAGES,
)

CONTENT = Told(
    kinds={
        "text": Told(ALL, {"text": ALL, "citations": _CITATION}),
        "thinking": Told(SHOWING, {**every(SHOWING, "thinking", "signature")}),
        "redacted_thinking": Told(SHOWING, {"data": SHOWING}),
        "tool_use": Told(
            SPEAKING,
            {**every(SPEAKING, "id", "name", "input"), "caller": Told(kinds={"direct": Told(ALL)})},
        ),
    },
    others=SHOWING,
)
_BEGUN = Told(
    kinds={**(CONTENT.kinds or {}), "text": Told(ALL, {"text": ALL, "citations": BLOCKS | MESSAGES})}, others=SHOWING
)
"""The same in a stream, where sources come later."""

_WRITTEN = ALL & ~GEMINI
USAGE: Shape = {
    **every(ALL, "input_tokens", "output_tokens", "cache_read_input_tokens"),
    "cache_creation_input_tokens": _WRITTEN,
    # What lasts for five minutes is the rest of what was written.
    "cache_creation": Told(
        _WRITTEN, {"ephemeral_5m_input_tokens": _WRITTEN, "ephemeral_1h_input_tokens": BLOCKS | MESSAGES}
    ),
    "output_tokens_details": Told(shape={"thinking_tokens": ALL}),
    "server_tool_use": Told(shape={"web_search_requests": BLOCKS | MESSAGES}),
    "service_tier": Told(words={"standard": ALL, "priority": CHAT | ITEMS | GEMINI}),
    "inference_geo": only("global", "not_available"),
    "speed": only("standard"),
}

ANSWER: Shape = {
    **every(ALL, "id", "type", "role", "model"),
    **every(NONE, "stop_sequence", "container", "context_management"),
    "stop_details": _REFUSED,
    "stop_reason": Told(words=_STOP),
    "content": CONTENT,
    "usage": Told(shape=USAGE),
}

ANSWERS = Looks(
    {
        b"": ANSWER,
        b"message_start": {"type": ALL, "message": Told(shape={**ANSWER, "stop_details": NONE})},
        b"content_block_start": {"type": ALL, "index": ALL, "content_block": _BEGUN},
        b"content_block_delta": {
            **every(ALL, "type", "index"),
            "delta": Told(
                kinds={
                    "thinking_delta": Told(SHOWING, {**every(SHOWING, "thinking", "estimated_tokens")}),
                    "signature_delta": Told(SHOWING, {"signature": SHOWING}),
                    "input_json_delta": Told(SHOWING, {"partial_json": SHOWING}),
                },
                others=BLOCKS,
            ),
        },
        b"citations_delta": {
            **every(ALL, "type", "index"),
            "delta": Told(shape={"type": ALL, "citation": _CITATION}),
        },
        b"message_delta": {
            "type": ALL,
            "delta": Told(
                shape={
                    "stop_reason": Told(words=_STOP),
                    "stop_details": _REFUSED,
                    **every(NONE, "stop_sequence", "container"),
                }
            ),
            "usage": Told(shape=USAGE),
        },
    }
)
"""Whole ones, and the events that may bring more than words."""
