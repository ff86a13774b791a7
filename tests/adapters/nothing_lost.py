"""What of an SDK's fields neither reaches a provider nor is named, and why its user has lost nothing by that.

Each row is for one SDK, the upstreams that it names, and paths as `sdk_types` writes them; `*` is any part of one
member, `**` of several. A row that covers nothing any more fails the test as well.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ALL = "chat claude gemini nova bedrock cohere mistral responses"


class Kept(NamedTuple):
    """`reason` says why nothing is lost where these `paths` of an `sdk` do not arrive at these `upstreams`: words of
    `UPSTREAMS` in the test, of which a client's own counts for nothing."""

    reason: str
    sdk: str
    upstreams: str
    paths: str

    def patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(_pattern(path)) for path in self.paths.split()]


def _pattern(path: str) -> str:
    return re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^.]*")


NOTHING_LOST = (
    Kept("Five minutes are the time of a mark that names none.", "anthropic", "nova bedrock", "**cache_control.ttl=5m"),
    Kept(
        "False is what leaving it out means.",
        "anthropic",
        ALL,
        """user[]<search_result>.citations.enabled=False
        user[]<tool_result>.content[]<search_result>.citations.enabled=False user[]<tool_result>.is_error=False
        tool_choice<*>.disable_parallel_tool_use=False tools[]<custom>.strict=False tools[]<custom>.defer_loading=False
        tools[]<custom>.eager_input_streaming=False""",
    ),
    Kept(
        "False is what leaving it out means; Cohere, which takes no documents here, refuses them.",
        "anthropic",
        "chat gemini nova bedrock mistral responses",
        "user[]<document>.citations.enabled=False user[]<tool_result>.content[]<document>.citations.enabled=False",
    ),
    Kept(
        "False, and that only the model calls it, is what leaving it out means.",
        "anthropic",
        "gemini",
        """tools[]<code_execution_*>.allowed_callers[]=direct tools[]<code_execution_*>.defer_loading=False
        tools[]<code_execution_*>.strict=False tools[]<web_search_*>.allowed_callers[]=direct
        tools[]<web_search_*>.defer_loading=False tools[]<web_search_*>.strict=False""",
    ),
    Kept(
        "False is what leaving it out means.",
        "openai chat",
        "claude gemini nova bedrock responses",
        "logprobs=False",
    ),
    Kept("Nobody else keeps what was not asked for.", "openai chat", ALL, "store=False"),
    Kept(
        "False is what leaving it out means; Responses are told.",
        "openai chat",
        "claude gemini nova bedrock cohere responses",
        "tools[]<function>.function.strict=False",
    ),
    Kept("False is what leaving it out means.", "openai completions", ALL, "echo=False"),
    Kept(
        "False, and that only the model calls it, is what leaving it out means; nobody else keeps an answer.",
        "openai responses",
        ALL,
        """background=False store=False input<function_call>.async=False input<custom_tool_call>.async=False
        tools[]<function>.async=False tools[]<function>.allowed_callers[]=direct tools[]<function>.defer_loading=False
        tools[]<custom>.async=False tools[]<custom>.allowed_callers[]=direct tools[]<custom>.defer_loading=False""",
    ),
    Kept(
        "False is what leaving it out means.",
        "google-genai",
        ALL,
        """user.thought=False model.thought=False user.functionResponse.willContinue=False
        model.functionCall.willContinue=False systemInstruction.parts[].thought=False
        tools.functionDeclarations[].parameters.nullable=False tools.functionDeclarations[].response.nullable=False
        schema.nullable=False
        toolConfig.functionCallingConfig.streamFunctionCallArguments=False
        toolConfig.includeServerSideToolInvocations=False""",
    ),
    Kept(
        "False is what leaving it out means.",
        "google-genai",
        "claude nova bedrock responses",
        "generationConfig.responseLogprobs=False",
    ),
    Kept(
        "It is what leaving it out means there.",
        "anthropic",
        ALL,
        "service_tier=auto tools[]<custom>.type=custom tools[]<custom>.allowed_callers[]=direct",
    ),
    Kept(
        "The standard tier is what leaving it out means there.",
        "anthropic",
        "gemini nova bedrock",
        "service_tier=standard_only",
    ),
    Kept(
        "The standard tier is what leaving it out means there.",
        "openai chat",
        "gemini nova bedrock",
        "service_tier=auto service_tier=default",
    ),
    Kept(
        "The standard tier is what leaving it out means there.",
        "openai responses",
        "gemini nova bedrock",
        "service_tier=auto service_tier=default",
    ),
    Kept(
        "The standard tier is what leaving it out means there.", "google-genai", "nova bedrock", "serviceTier=standard"
    ),
    Kept(
        "It is what leaving it out means.",
        "openai chat",
        "claude gemini responses",
        "messages<ChatCompletionUserMessageParam>.content[]<image_url>.image_url.detail=auto",
    ),
    Kept("It is what leaving it out means.", "openai chat", "claude", "function_call=auto"),
    Kept(
        "It is what leaving it out means.",
        "openai chat",
        "claude gemini nova bedrock cohere mistral",
        "verbosity=medium",
    ),
    Kept(
        "It is what leaving it out means.",
        "openai responses",
        "claude gemini nova bedrock cohere mistral",
        "text.verbosity=medium",
    ),
    Kept("It is what leaving it out means.", "openai chat", "cohere", "tool_choice=auto"),
    Kept(
        "It is what leaving it out means.",
        "openai chat",
        "claude nova bedrock cohere mistral responses",
        "modalities[]=text",
    ),
    Kept(
        "It is what leaving it out means.",
        "openai chat",
        "claude gemini nova bedrock cohere",
        "parallel_tool_calls=True",
    ),
    Kept("These models do not think unless asked to.", "openai chat", "claude nova bedrock", "reasoning_effort=none"),
    Kept(
        "These models do not think unless asked to.", "openai responses", "claude nova bedrock", "reasoning.effort=none"
    ),
    Kept(
        "It is what leaving it out means.",
        "openai responses",
        "chat claude gemini nova bedrock mistral",
        """input<EasyInputMessageParam>.content[]<input_file>.detail=auto
        input<Message>.content[]<input_file>.detail=auto
        input<*_output>.output[]<input_file>.detail=auto""",
    ),
    Kept(
        "It is what leaving it out means.",
        "openai responses",
        "claude gemini",
        "input<function_call_output>.output[]<input_image>.detail=auto",
    ),
    Kept(
        "It is what leaving it out means.",
        "openai responses",
        ALL,
        """input<EasyInputMessageParam>.type=message input<Message>.type=message parallel_tool_calls=True
        truncation=disabled""",
    ),
    Kept("It is what leaving it out means.", "openai responses", "cohere", "tool_choice=auto"),
    Kept(
        "There is no other kind of place.",
        "openai responses",
        "claude",
        "tools[]<web_search>.user_location.type=approximate",
    ),
    Kept(
        "It is what leaving it out means.",
        "google-genai",
        ALL,
        """serviceTier=unspecified toolConfig.functionCallingConfig.mode=MODE_UNSPECIFIED
        toolConfig.functionCallingConfig.mode=AUTO generationConfig.responseModalities[]=TEXT
        generationConfig.thinkingConfig.thinkingLevel=THINKING_LEVEL_UNSPECIFIED
        model.codeExecutionResult.outcome=OUTCOME_UNSPECIFIED model.codeExecutionResult.outcome=OUTCOME_OK
        model.executableCode.language=LANGUAGE_UNSPECIFIED model.executableCode.language=PYTHON""",
    ),
    Kept(
        "Mistral takes ids of nine letters: call and result get the same one, made of theirs.",
        "anthropic",
        "mistral",
        "user[]<tool_result>.tool_use_id assistant[]<BetaToolUseBlock*>.id",
    ),
    Kept(
        "As above.",
        "openai chat",
        "mistral",
        """messages<ChatCompletionAssistantMessageParam>.tool_calls[]<function>.id
        messages<ChatCompletionToolMessageParam>.tool_call_id""",
    ),
    Kept("As above.", "openai responses", "mistral", "input<function_call*>.call_id input<custom_tool_call*>.call_id"),
    Kept("As above.", "google-genai", "mistral", "user.functionResponse.id model.functionCall.id"),
    Kept(
        "It is there in base64, as Converse writes bytes.",
        "anthropic",
        "nova bedrock",
        "assistant[]<BetaRedactedThinkingBlock*>.data",
    ),
    Kept("It is always there.", "openai responses", ALL, "include[]=reasoning.encrypted_content"),
    Kept(
        "The order of a schema's properties says it.",
        "google-genai",
        ALL,
        """tools.functionDeclarations[].parameters.propertyOrdering[] schema.propertyOrdering[]
        tools.functionDeclarations[].response.propertyOrdering[]""",
    ),
    Kept(
        "The kind of the part says it: image, document, sound.",
        "google-genai",
        "mistral",
        "user.fileData.mimeType user.functionResponse.parts[].fileData.mimeType",
    ),
    Kept(
        "A schema's name is a label that these do not have.",
        "openai chat",
        "claude gemini nova cohere",
        "response_format<json_schema>.json_schema.name",
    ),
    Kept("As above.", "openai responses", "claude gemini nova cohere", "text.format<json_schema>.name"),
    Kept(
        "These hold to every schema.",
        "openai chat",
        "claude gemini bedrock cohere",
        "response_format<json_schema>.json_schema.strict=True",
    ),
    Kept("As above.", "openai responses", "claude gemini bedrock cohere", "text.format<json_schema>.strict=True"),
    Kept(
        "An answer that fits a schema is what was asked for, if more loosely.",
        "openai chat",
        "claude gemini nova bedrock cohere",
        "response_format<json_schema>.json_schema.strict=False",
    ),
    Kept("As above.", "openai responses", "claude gemini nova bedrock cohere", "text.format<json_schema>.strict=False"),
    Kept(
        "Google's thoughts are told as summaries, and in no other way.",
        "anthropic",
        "gemini",
        "thinking<*>.display=summarized",
    ),
    Kept(
        "OpenAI's thoughts are told to those who ask.", "anthropic", "responses", "thinking<adaptive>.display=omitted"
    ),
    Kept(
        "What a model shows of its thinking is always told.",
        "openai responses",
        ALL,
        "reasoning.summary=auto reasoning.generate_summary=auto",
    ),
    Kept(
        "What a model shows of its thinking is always told.",
        "google-genai",
        "chat claude nova bedrock cohere mistral",
        "generationConfig.thinkingConfig.includeThoughts=True",
    ),
    Kept(
        "Thoughts are parts that say what they are, which the SDK leaves out of an answer's text.",
        "google-genai",
        ALL,
        "generationConfig.thinkingConfig.includeThoughts=False",
    ),
    Kept(
        "The gateway itself does what it asks for: usage at a stream's end, or none.",
        "openai chat",
        ALL,
        "stream_options.include_usage=*",
    ),
    Kept(
        "As above.",
        "openai completions",
        "claude gemini nova bedrock cohere mistral responses",
        "stream_options.include_usage=*",
    ),
    Kept(
        "It pads OpenAI's own events against who counts bytes on the way from there; no model is asked for anything.",
        "openai chat",
        ALL,
        "stream_options.include_obfuscation=*",
    ),
    Kept(
        "As above.",
        "openai completions",
        "claude gemini nova bedrock cohere mistral responses",
        "stream_options.include_obfuscation=*",
    ),
    Kept("As above.", "openai responses", ALL, "stream_options.include_obfuscation=*"),
    Kept(
        "A message without a phase is an answer.",
        "openai responses",
        ALL,
        "input<EasyInputMessageParam>.phase=final_answer input<ResponseOutputMessageParam>.phase=final_answer",
    ),
    Kept(
        "Labels of stored items, which no model is shown; calls and results are joined by `call_id`.",
        "openai responses",
        ALL,
        """input<Message>.status=* input<ResponseOutputMessageParam>.id input<function_call>.id
        input<function_call>.status=* input<function_call_output>.id input<function_call_output>.status=*
        input<custom_tool_call>.id input<custom_tool_call_output>.id""",
    ),
    Kept(
        "How likely an answer's words were is no part of what is read again.",
        "openai responses",
        ALL,
        "input<ResponseOutputMessageParam>.content[]<output_text>.logprobs[].**",
    ),
    Kept(
        "A label: the result that follows stands for it.",
        "google-genai",
        ALL,
        "model.executableCode.id model.codeExecutionResult.id",
    ),
    Kept(
        "A system prompt is nobody's turn, whatever it says of itself.",
        "google-genai",
        ALL,
        "systemInstruction.role",
    ),
    Kept(
        "Tools that run at Google are named each, so that nothing ran which could be shown.",
        "google-genai",
        ALL,
        "toolConfig.includeServerSideToolInvocations=True",
    ),
)

SAME_WORDS = (
    Kept("The standard tier is both.", "anthropic", "gemini nova bedrock", "service_tier"),
    Kept("The standard tier is both.", "openai chat", "gemini nova bedrock", "service_tier"),
    Kept("The standard tier is both.", "openai responses", "gemini nova bedrock", "service_tier"),
    Kept("The standard tier is both.", "google-genai", "nova bedrock", "serviceTier"),
    Kept(
        "Mistral hears by itself which it is.",
        "openai chat",
        "mistral",
        "messages<ChatCompletionUserMessageParam>.content[]<input_audio>.input_audio.format",
    ),
    Kept(
        "A developer's word is the system's for all others.",
        "openai responses",
        ALL,
        "input<EasyInputMessageParam>.role input<Message>.role",
    ),
    Kept("A label of a stored item.", "openai responses", ALL, "input<ResponseOutputMessageParam>.status"),
)
"""Fields that must be there, and of whose words several come to the same."""
