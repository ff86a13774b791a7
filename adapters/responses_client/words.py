"""The names that Responses have for the fields of the chat request that they become, for what cannot come along."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "messages": "input",
    "messages[].content[].file": "input[].content[]",
    "messages[].content[].image_url": "input[].content[]",
    "messages[].content_blocks[].thinking": "input[].encrypted_content",
    "messages[].content_blocks[].redacted_thinking": "input[].encrypted_content",
    "messages[].content_blocks[].openai_item": "input[].encrypted_content",
    "messages[].content_blocks[]": "input[]",
    "messages[].content[].image_url.url": "input[].content[].image_url",
    "messages[].content_blocks[].thinking.signature": "input[].encrypted_content",
    "cache_control": "input[].content[].prompt_cache_breakpoint",
    "messages[].tool_calls[]": "input[]",
    "messages[].tool_calls[].function.thought_signature": "input[].encrypted_content",
    "messages[].tool_calls[].function": "input[]",
    "response_format.json_schema": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
    "tools[].function": "tools[]",
    "web_search_options": "tools[].web_search",
    "web_search_options.search_context_size": "tools[].search_context_size",
    "web_search_options.user_location": "tools[].user_location",
    "web_search_options.user_location.approximate": "tools[].user_location",
    "web_search_options.filters": "tools[].filters",
}
