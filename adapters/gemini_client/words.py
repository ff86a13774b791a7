"""Gemini's names for the fields of the chat request that its requests become, for what cannot come along."""

from __future__ import annotations

from collections.abc import Mapping

_CONFIG = "generationConfig."

WORDS: Mapping[str, str] = {
    "messages": "contents",
    "messages[].content[]": "contents[].parts[]",
    "messages[].content[].file.filename": "contents[].parts[].inlineData.displayName",
    "messages[].is_error": "contents[].parts[].functionResponse.response",
    "messages[].content_blocks[].openai_item": "contents[].parts[].thoughtSignature",
    "messages[].content_blocks[]": "contents[].parts[]",
    "messages[].content_blocks[].thinking": "contents[].parts[].thought",
    "messages[].content_blocks[].redacted_thinking": "contents[].parts[].thoughtSignature",
    "messages[].content_blocks[].thinking.signature": "contents[].parts[].thoughtSignature",
    "messages[].tool_calls[]": "contents[].parts[]",
    "messages[].tool_calls[].function.thought_signature": "contents[].parts[].thoughtSignature",
    "messages[].tool_calls[].function.arguments": "contents[].parts[].functionCall.args",
    "response_format.json_schema": f"{_CONFIG}responseSchema",
    "response_format.json_schema.schema": f"{_CONFIG}responseSchema",
    "response_format.json_schema.strict": f"{_CONFIG}responseSchema",
    "max_tokens": f"{_CONFIG}maxOutputTokens",
    "max_completion_tokens": f"{_CONFIG}maxOutputTokens",
    "temperature": f"{_CONFIG}temperature",
    "top_p": f"{_CONFIG}topP",
    "top_k": f"{_CONFIG}topK",
    "stop": f"{_CONFIG}stopSequences",
    "n": f"{_CONFIG}candidateCount",
    "seed": f"{_CONFIG}seed",
    "presence_penalty": f"{_CONFIG}presencePenalty",
    "frequency_penalty": f"{_CONFIG}frequencyPenalty",
    "logprobs": f"{_CONFIG}responseLogprobs",
    "top_logprobs": f"{_CONFIG}logprobs",
    "modalities": f"{_CONFIG}responseModalities",
    "reasoning_effort": f"{_CONFIG}thinkingConfig.thinkingLevel",
    "response_format": f"{_CONFIG}responseMimeType",
    "tools": "tools[].functionDeclarations",
    "web_search_options": "tools[].googleSearch",
    "tools[]": "tools[].functionDeclarations[]",
    "tools[].function.strict": "toolConfig.functionCallingConfig.mode",
    "tools[].function": "tools[].functionDeclarations[]",
    "tool_choice": "toolConfig.functionCallingConfig",
    "service_tier": "serviceTier",
}

BY_BUDGET = ({"reasoning_effort": f"{_CONFIG}thinkingConfig.thinkingBudget"}, WORDS)
"""The same where a budget is what asks for an effort."""
