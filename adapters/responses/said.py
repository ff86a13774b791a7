"""Which clients are told what of a response and its events; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.unsaid import ALL, CHAT, GEMINI, MESSAGES, NONE, SHOWING, SPEAKING, Looks, Shape, Told, every

_LIKELY = CHAT | GEMINI
_PHASES = Told(words={"final_answer": ALL, "commentary": SHOWING})

_TEXT: Shape = {
    "text": ALL,
    "annotations": Told(
        SPEAKING,
        kinds={
            "url_citation": Told(
                SPEAKING, {**every(SPEAKING, "url", "title"), **every(SPEAKING & ~MESSAGES, "start_index", "end_index")}
            )
        },
    ),
    "logprobs": Told(
        _LIKELY,
        {
            **every(_LIKELY, "token", "logprob", "bytes"),
            "top_logprobs": Told(_LIKELY, {**every(_LIKELY, "token", "logprob", "bytes")}),
        },
    ),
}

_THOUGHT = Told(
    SHOWING,
    {
        **every(SHOWING, "id", "status", "summary", "content", "encrypted_content"),
    },
)

_CALL: Shape = {**every(SPEAKING, "id", "status", "call_id", "name")}

ITEM = Told(
    kinds={
        "message": Told(
            shape={
                **every(ALL, "id", "status", "role"),
                "phase": _PHASES,
                "content": Told(kinds={"output_text": Told(shape=_TEXT), "refusal": Told(shape={"refusal": ALL})}),
            }
        ),
        "reasoning": _THOUGHT,
        "function_call": Told(SPEAKING, {**_CALL, "arguments": SPEAKING}),
        "custom_tool_call": Told(CHAT, {**_CALL, "input": CHAT}),
    },
    others=SHOWING,
)

_ECHO = (
    "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt",
    "previous_response_id", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "safety_identifier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation",
    "user", "frequency_penalty", "presence_penalty",
)  # fmt: skip
"""What says again what was asked."""

_ANSWER: Shape = {
    "billing": ALL,  # who pays
    **every(ALL, "id", "object", "created_at", "completed_at", "status", "error", "model", *_ECHO),
    **every(NONE, "conversation", "moderation", "access_programs", "image", "input_transformations"),
    **every(NONE, "prompt_cache_diagnostics", "tool_usage"),
    "incomplete_details": Told(shape={"reason": Told(words=every(ALL, "max_output_tokens", "content_filter"))}),
    "output": ITEM,
    "service_tier": Told(
        words={**every(ALL, "auto", "default"), **every(CHAT | GEMINI | MESSAGES, "priority"), "flex": CHAT | GEMINI},
        others=CHAT,
    ),
    "usage": Told(
        shape={
            **every(ALL, "input_tokens", "output_tokens", "total_tokens"),
            "input_tokens_details": Told(shape={"cached_tokens": ALL, "cache_write_tokens": ALL & ~GEMINI}),
            "output_tokens_details": Told(shape={"reasoning_tokens": ALL}),
        }
    ),
}

ANSWERS = Looks({b"": _ANSWER, b"event": {**every(ALL, "type", "sequence_number"), "response": Told(shape=_ANSWER)}})
"""Whole ones, and the event that ends a stream: it has the whole once more."""
