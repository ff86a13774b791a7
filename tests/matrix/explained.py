"""Recorded answers that other SDKs read otherwise than the recording's own, each with its reason, and how many are read
alike: see `replay`."""

from __future__ import annotations

from typing import NamedTuple

ALIKE, READ, RECORDED = 2883, 2927, 648
"""What the last replay came to: answers read alike, answers read, recordings. The test of the recordings compares."""


class Reason(NamedTuple):
    """Why the other SDKs read something else than the recording's own; but for those that it `spares`."""

    words: str
    spares: tuple[str, ...] = ()


_BACKGROUND = Reason(
    "The response was asked for in the background and is queued. That is no answer, and dialects without such a state "
    "can only tell it as a failure; none of them can ask for it either."
)
_NO_FINISH = Reason(
    "The provider leaves the finish reason empty or out. Dialects that must have one say what the answer amounts to: "
    "it calls tools, or it is over.",
    ("OpenAI completions",),
)
_NO_ARGUMENTS = Reason(
    "A tool call's arguments are null, which is no JSON text: a program that reads them fails. Where arguments are an "
    "object, it is empty; where they are a text, it is that of an empty object."
)

EXPLAINED: dict[tuple[str, str], Reason] = {
    ("api.openai.com/test_openai_responses__test_background_mode_reasoning_vcr/0", "answer"): _BACKGROUND,
    (
        "api.openai.com/test_openai_responses__test_background_mode_streaming_without_starting_after_vcr/0",
        "answer",
    ): _BACKGROUND,
    ("api.openai.com/test_openai_responses__test_background_mode_vcr/0", "answer"): _BACKGROUND,
    ("api.openai.com/test_openai_responses__test_background_mode_with_tool_vcr/0", "answer"): _BACKGROUND,
    ("api.openai.com/test_openai_responses__test_background_mode_with_tool_vcr/2", "answer"): _BACKGROUND,
    ("myorg-myaccount.snowflakecomputing.com/test_snowflake__test_snowflake_llama/0", "stop"): _NO_FINISH,
    ("myorg-myaccount.snowflakecomputing.com/test_snowflake__test_snowflake_model_streaming/0", "stop"): _NO_FINISH,
    ("myorg-myaccount.snowflakecomputing.com/test_snowflake__test_snowflake_native_output/0", "stop"): _NO_FINISH,
    ("myorg-myaccount.snowflakecomputing.com/test_snowflake__test_snowflake_tool_calling/0", "stop"): _NO_FINISH,
    ("myorg-myaccount.snowflakecomputing.com/test_snowflake__test_snowflake_tool_calling/1", "stop"): _NO_FINISH,
    ("openrouter.ai/test_openrouter__test_openrouter_tool_optional_parameters/0", "answer"): _NO_ARGUMENTS,
}
"""Every recording that is not read alike, what differs, and why."""
