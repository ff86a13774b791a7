"""Anthropic's names for the fields of the chat request that its requests become, for what cannot come along."""

from __future__ import annotations

from collections.abc import Mapping

PREFILL = "prefill"
"""What is lost where a model does not go on from what the client has it begin with."""
WORDS: Mapping[str, str] = {
    "messages[].content[].file.filename": "messages[].content[].title",
    "messages[].is_error": "messages[].content[].is_error",
    "messages[].content_blocks[].openai_item": "messages[].content[].redacted_thinking",
    "messages[].content_blocks[]": "messages[].content[]",
    "messages[].content[].image_url.url": "messages[].content[].source",
    "messages[].content[].file.file_data": "messages[].content[].source",
    "messages[].content[].file.file_url": "messages[].content[].source",
    "messages[].content_blocks[].thinking.signature": "messages[].content[].signature",
    "messages[].tool_calls[]": "messages[].content[]",
    "messages[].tool_calls[].function.thought_signature": "messages[].content[].redacted_thinking",
    "messages[].tool_calls[].function.arguments": "messages[].content[].input",
    "tools[].function.parameters": "tools[].input_schema",
    "response_format.json_schema": "output_config.format",
    "response_format.json_schema.strict": "output_config.format",
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "tools[].function": "tools[]",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "user": "metadata.user_id",
}
