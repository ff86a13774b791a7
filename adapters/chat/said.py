"""Which clients of other dialects are told what of a chat completion and its chunks; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.unsaid import (
    ALL,
    CHAT,
    GEMINI,
    ITEMS,
    MESSAGES,
    SPEAKING,
    STRICT,
    TEXT,
    Looks,
    Shape,
    Told,
    every,
    only,
)

_NATIVE = ("stop", "STOP", "end_turn", "completed", "tool_calls", "tool_use", "length", "MAX_TOKENS", "max_tokens")
_LIKELY = CHAT | ITEMS | GEMINI

_CHANCES: Shape = {
    **every(_LIKELY, "token", "logprob", "bytes"),
    "top_logprobs": Told(_LIKELY, {**every(_LIKELY, "token", "logprob", "bytes")}),
}

_FUNCTION = Told(SPEAKING, {**every(SPEAKING, "name", "arguments", "thought_signature")})

_SAID = Told(
    shape={
        "role": ALL,
        "content": Told(
            kinds={
                "text": Told(shape={"text": ALL}),
                "thinking": Told(SPEAKING & ~STRICT, {**every(SPEAKING, "thinking", "closed", "signature")}),
            },
        ),
        "refusal": ALL,
        "tool_calls": Told(SPEAKING, {**every(SPEAKING, "id", "type", "index"), "function": _FUNCTION}),
        "function_call": _FUNCTION,
        "annotations": Told(
            SPEAKING,
            kinds={
                "url_citation": Told(
                    SPEAKING,
                    {
                        "url_citation": Told(
                            SPEAKING,
                            {
                                **every(SPEAKING, "url", "title"),
                                **every(SPEAKING & ~MESSAGES, "start_index", "end_index"),
                            },
                        )
                    },
                )
            },
        ),
        **every(SPEAKING, "reasoning", "reasoning_content", "reasoning_details", "content_blocks"),
        "prefix": ALL,
        "audio": CHAT,
    }
)

_USAGE = Told(
    shape={
        **every(ALL, "prompt_tokens", "completion_tokens", "total_tokens", "num_cached_tokens", "cache_write_tokens"),
        **every(ALL, "cached_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens"),
        **every(ALL, "completion_time", "prompt_time", "queue_time", "total_time"),
        "prompt_tokens_details": Told(
            shape={
                **every(ALL, "cached_tokens", "text_tokens"),
                "cache_write_tokens": ALL & ~GEMINI,
                **every(CHAT | TEXT | GEMINI, "audio_tokens", "image_tokens"),
            }
        ),
        "completion_tokens_details": Told(
            shape={
                **every(ALL, "reasoning_tokens", "text_tokens"),
                "audio_tokens": CHAT | TEXT | GEMINI,
                **every(CHAT | TEXT, "accepted_prediction_tokens", "rejected_prediction_tokens"),
            }
        ),
    },
    whole=TEXT | CHAT,
)

ANSWER: Shape = {
    **every(ALL, "id", "object", "created", "model"),
    # Who answered and how long that took, and what was asked.
    **every(ALL, "time_info", "obfuscation", "system_fingerprint", "provider", "x_groq", "metadata", "request_id"),
    "choices": Told(
        shape={
            **every(ALL, "index", "usage", "seed"),
            # OpenRouter tells what the maker said beside what it means.
            "native_finish_reason": only(*_NATIVE),
            "finish_reason": Told(
                words=every(ALL, "stop", "length", "model_length", "tool_calls", "function_call", "content_filter"),
                others=CHAT,
            ),
            "logprobs": Told(_LIKELY, {"content": Told(_LIKELY, _CHANCES), "refusal": CHAT}),
            "message": _SAID,
            "delta": _SAID,
        },
        first_to=ITEMS | MESSAGES,
    ),
    "usage": _USAGE,
    "citations": SPEAKING,
    "search_results": Told(SPEAKING, {**every(SPEAKING, "url", "title")}),
    "service_tier": Told(
        words={
            **every(ALL, "auto", "default", "standard", "on_demand"),
            "priority": CHAT | ITEMS | GEMINI | MESSAGES,
            "flex": CHAT | ITEMS | GEMINI,
        },
        others=CHAT | ITEMS,
    ),
}

ANSWERS = Looks({b"": ANSWER})
"""Whole ones and chunks."""
