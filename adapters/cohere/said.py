"""Which clients are told what of Cohere's answers; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.unsaid import ALL, BLOCKS, GEMINI, ITEMS, MESSAGES, SHOWING, SPEAKING, STRICT, Looks, Shape, Told, every

_FINISH = Told(
    words={
        **every(ALL, "COMPLETE", "MAX_TOKENS", "TOOL_CALL"),
    },
    others=BLOCKS,
)

_CHANCE = Told(
    STRICT | BLOCKS | ITEMS | GEMINI,
    # A token's number in Cohere's vocabulary stands for its text.
    {**every(STRICT | BLOCKS | ITEMS | GEMINI, "text", "logprobs", "token_ids")},
)

_CITATION = Told(
    SPEAKING,
    {
        **every(SPEAKING & ~MESSAGES, "start", "end"),
        "text": SPEAKING,
        "sources": Told(
            SPEAKING,
            kinds={
                "document": Told(SPEAKING, {"document": Told(SPEAKING, {**every(SPEAKING, "url", "title")})}),
            },
        ),
    },
    whole=BLOCKS,
)

_CALL = Told(
    SPEAKING,
    {
        **every(SPEAKING, "id", "type"),
        "function": Told(SPEAKING, {**every(SPEAKING, "name", "arguments")}),
    },
)

_USAGE = Told(
    shape={
        "tokens": Told(shape=every(ALL, "input_tokens", "output_tokens")),
        "cached_tokens": ALL,
        # What is billed of the tokens above is Cohere's own affair.
        "billed_units": Told(shape=every(ALL, "input_tokens", "output_tokens")),
    }
)

_PART = Told(
    kinds={"text": Told(ALL, {"text": ALL}), "thinking": Told(SHOWING, {"thinking": SHOWING})},
)

_ANSWER: Shape = {
    "id": ALL,
    "finish_reason": _FINISH,
    "message": Told(
        shape={
            "role": ALL,
            "tool_plan": ALL,
            "content": _PART,
            "tool_calls": _CALL,
            "citations": _CITATION,
        }
    ),
    "usage": _USAGE,
    "logprobs": _CHANCE,
}

ANSWERS = Looks(
    {
        b"": _ANSWER,
        b"content-start": {
            **every(ALL, "type", "index"),
            "delta": Told(shape={"message": Told(shape={"content": _PART})}),
        },
        b"content-delta": {**every(ALL, "type", "index", "delta"), "logprobs": _CHANCE},
        b"tool-call-start": {
            **every(ALL, "type", "index"),
            "delta": Told(shape={"message": Told(shape={"tool_calls": _CALL})}),
        },
        b"citation-start": {
            **every(ALL, "type", "index"),
            "delta": Told(shape={"message": Told(shape={"citations": _CITATION})}),
        },
        b"message-end": {
            **every(ALL, "type", "id"),
            "delta": Told(shape={"finish_reason": _FINISH, "usage": _USAGE, "error": ALL}),
        },
    }
)
"""Whole ones, and the events that may bring more than words."""
