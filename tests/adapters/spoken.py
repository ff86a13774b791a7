"""What a request says, in words that no dialect owns, and a small reader for each dialect that has nothing of a codec.

A conversation is a list of turns `(role, items)`, the roles `user` and `model`, neighbours of one role taken together;
an item is a tuple whose first word says what it is: text, image, document, thought, call or result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Item = tuple[Any, ...]
JSON_LINE = "Answer with one valid JSON"
"""How the prompt begins that asks for JSON where a dialect has no field for it."""


class Spoken(NamedTuple):
    """`settings` go by the names of chat's parameters; `reasoning_effort` is True where thinking was asked for."""

    system: list[str]
    turns: list[tuple[str, list[Item]]]
    settings: dict[str, Any]


class _Turns:
    def __init__(self) -> None:
        self.made: list[tuple[str, list[Item]]] = []

    def add(self, role: str, items: Iterable[Item]) -> None:
        if self.made and self.made[-1][0] == role:
            self.made[-1][1].extend(items)
        else:
            self.made.append((role, list(items)))


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _data(url: str, name: str | None = None) -> Item:
    if not url.startswith("data:"):
        return ("image", url)
    media, _, data = url[5:].partition(";base64,")
    return ("image", media, data) if media.startswith("image/") else ("document", media, data, name)


def _tool(name: str, description: str | None, parameters: Any) -> tuple[Any, ...]:
    return (name, description, parameters if (parameters or {}).get("properties") else None)


def _failed(items: list[Item]) -> tuple[list[Item], bool]:
    """The items of a result without the word by which some dialects mark a failure, and whether it was there."""
    head = items[0][1] if items and items[0][0] == "text" else ""
    if head == "Error:":
        return items[1:], True
    return ([("text", head[7:]), *items[1:]], True) if head.startswith("Error:\n") else (items, False)


def _out_of_prompt(system: list[str], settings: dict[str, Any]) -> list[str]:
    if system and system[-1].startswith(JSON_LINE):
        if "schema" not in system[-1]:
            settings["response_format"] = "json"
        return system[:-1]
    return system


# Chat, and Mistral's variant of it


def _chat_part(part: dict[str, Any]) -> Item:
    kind = part["type"]
    if kind == "text":
        return ("text", part["text"])
    if kind == "image_url":
        return _data(part["image_url"]["url"])
    if kind == "document_url":
        return _data(part["document_url"], part["document_name"])
    if kind == "file":
        return _data(part["file"]["file_data"], part["file"].get("filename"))
    assert kind == "thinking", kind
    words = part["thinking"]
    thought = words if isinstance(words, str) else "".join(word["text"] for word in words)
    return ("thought", thought, part.get("signature"))


def _chat_items(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)] if content else []
    return [_chat_part(part) for part in content or ()]


def _chat_said(message: dict[str, Any]) -> list[Item]:
    items = [_chat_part(block) for block in message.get("content_blocks") or ()]
    if not any(item[0] == "text" for item in items):
        items += _chat_items(message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        items.append(("call", call["id"], function["name"], json.loads(function["arguments"])))
    return items


def _chat_choice(choice: Any) -> Any:
    return ("only", choice["function"]["name"]) if isinstance(choice, dict) else choice


def chat(body: dict[str, Any]) -> Spoken:
    """Reads a chat request."""
    system: list[str] = []
    turns = _Turns()
    for message in body["messages"]:
        role = message["role"]
        if role in ("system", "developer"):
            system += [item[1] for item in _chat_items(message["content"])]
        elif role == "assistant":
            turns.add("model", _chat_said(message))
        elif role == "tool":
            items = _chat_items(message["content"])
            turns.add("user", [("result", message["tool_call_id"], items, bool(message.get("is_error")))])
        else:
            turns.add("user", _chat_items(message["content"]))
    wanted = body.get("response_format")
    settings = _given(
        max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
        stop=body.get("stop"),
        tools=[
            _tool(tool["function"]["name"], tool["function"].get("description"), tool["function"].get("parameters"))
            for tool in body.get("tools") or ()
        ]
        or None,
        tool_choice=_chat_choice(body.get("tool_choice")),
        parallel_tool_calls=body.get("parallel_tool_calls"),
        response_format=wanted and (wanted["json_schema"]["schema"] if "json_schema" in wanted else "json"),
        reasoning_effort=body.get("reasoning_effort", "none") != "none" or None,
    )
    for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"):
        settings |= _given(**{name: body.get(name)})
    return Spoken(system, turns.made, settings)


_BRIDGE = {"role": "assistant", "content": "OK"}
"""What the codec has the assistant say between a result and the user."""


def mistral(body: dict[str, Any]) -> Spoken:
    """Reads a request of Mistral's. A failed result is marked in its text."""
    messages = body["messages"]
    said = [one for at, one in enumerate(messages) if one != _BRIDGE or messages[at - 1]["role"] != "tool"]
    renamed = {**body, "messages": said, "seed": body.get("random_seed")}
    if body.get("tool_choice") == "any":
        renamed["tool_choice"] = "required"
    found = chat(renamed)
    return found._replace(turns=[(role, [_unmarked(item) for item in items]) for role, items in found.turns])


def _unmarked(item: Item) -> Item:
    return ("result", item[1], *_failed(item[2])) if item[0] == "result" else item


# Anthropic


def _anthropic_item(block: dict[str, Any]) -> Item:
    kind = block["type"]
    if kind == "text":
        return ("text", block["text"])
    if kind in ("image", "document"):
        source = block["source"]
        if source["type"] == "url":
            return (kind, source["url"])
        named = (block.get("title"),) if kind == "document" else ()
        return (kind, source["media_type"], source["data"], *named)
    if kind == "thinking":
        return ("thought", block["thinking"], block["signature"])
    if kind == "tool_use":
        return ("call", block["id"], block["name"], block["input"])
    assert kind == "tool_result", kind
    return ("result", block["tool_use_id"], _anthropic_items(block.get("content")), bool(block.get("is_error")))


def _anthropic_items(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)] if content else []
    return [_anthropic_item(block) for block in content or ()]


def anthropic(body: dict[str, Any]) -> Spoken:
    """Reads a Messages request."""
    turns = _Turns()
    for message in body["messages"]:
        turns.add({"user": "user", "assistant": "model"}[message["role"]], _anthropic_items(message["content"]))
    choice = body.get("tool_choice") or {}
    config = body.get("output_config") or {}
    kind = {"auto": "auto", "any": "required", "none": "none", "tool": ("only", choice.get("name"))}
    settings = _given(
        max_tokens=body["max_tokens"],
        stop=body.get("stop_sequences"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        tools=[_tool(tool["name"], tool.get("description"), tool["input_schema"]) for tool in body.get("tools", ())]
        or None,
        tool_choice=kind[choice["type"]] if choice else None,
        parallel_tool_calls=False if choice.get("disable_parallel_tool_use") else None,
        response_format=config["format"]["schema"] if "format" in config else None,
        reasoning_effort=(body.get("thinking", {}).get("type") in ("enabled", "adaptive") or "effort" in config)
        or None,
    )
    system = _out_of_prompt([item[1] for item in _anthropic_items(body.get("system"))], settings)
    return Spoken(system, turns.made, settings)


# Gemini


def _gemini_items(parts: list[dict[str, Any]]) -> list[Item]:
    items: list[Item] = []
    for part in parts:
        signature = part.get("thoughtSignature")
        if signature and items and items[-1][0] == "thought":
            items[-1] = (*items[-1][:2], f"google:{signature}")
        if part.get("thought"):
            items.append(("thought", part["text"], None))
        elif "functionCall" in part:
            called = part["functionCall"]
            items.append(("call", called["id"], called["name"], called["args"]))
        elif "functionResponse" in part:
            items.append(_gemini_result(part["functionResponse"]))
        elif "inlineData" in part:
            blob = part["inlineData"]
            media, data, name = blob["mimeType"], blob["data"], blob.get("displayName")
            items.append(("image", media, data) if media.startswith("image/") else ("document", media, data, name))
        elif "fileData" in part:
            items.append(("image", part["fileData"]["fileUri"]))
        elif part["text"]:
            items.append(("text", part["text"]))
    return items


def _gemini_result(result: dict[str, Any]) -> Item:
    [(key, told)] = result["response"].items()
    items: list[Item] = [("text", told)] if told else []
    return ("result", result["id"], items + _gemini_items(result.get("parts", [])), key == "error")


def gemini(body: dict[str, Any]) -> Spoken:
    """Reads a generateContent request."""
    turns = _Turns()
    for content in body["contents"]:
        turns.add(content["role"], _gemini_items(content["parts"]))
    config = body.get("generationConfig", {})
    thinking = config.get("thinkingConfig", {})
    declared = [each for tool in body.get("tools", ()) for each in tool["functionDeclarations"]]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    mode = {"AUTO": "auto", "ANY": "required", "NONE": "none", None: None}[calling.get("mode")]
    if "allowedFunctionNames" in calling:
        mode = ("only", *calling["allowedFunctionNames"])
    schema = config.get("responseJsonSchema")
    settings = _given(
        max_tokens=config.get("maxOutputTokens"),
        stop=config.get("stopSequences"),
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        seed=config.get("seed"),
        presence_penalty=config.get("presencePenalty"),
        frequency_penalty=config.get("frequencyPenalty"),
        tools=[_tool(each["name"], each.get("description"), each.get("parametersJsonSchema")) for each in declared]
        or None,
        tool_choice=mode,
        response_format=(schema or "json") if config.get("responseMimeType") == "application/json" else None,
        reasoning_effort=("thinkingLevel" in thinking or thinking.get("thinkingBudget", 0) > 0) or None,
    )
    system = [part["text"] for part in body.get("systemInstruction", {}).get("parts", ())]
    if "response_format" not in settings and system and system[-1].startswith(JSON_LINE):
        system.pop()
    return Spoken(system, turns.made, settings)


# Bedrock Converse


def _bedrock_item(block: dict[str, Any]) -> Item:
    [(kind, value)] = block.items()
    if kind == "text":
        return ("text", value)
    if kind == "image":
        return ("image", f"image/{value['format']}", value["source"]["bytes"])
    if kind == "document":
        return ("document", f"application/{value['format']}", value["source"]["bytes"], None)
    if kind == "reasoningContent":
        return ("thought", value["reasoningText"]["text"], value["reasoningText"].get("signature"))
    if kind == "toolUse":
        return ("call", value["toolUseId"], value["name"], value["input"])
    assert kind == "toolResult", kind
    items = [_bedrock_item(each) for each in value["content"]]
    return ("result", value["toolUseId"], items, value.get("status") == "error")


def bedrock(body: dict[str, Any]) -> Spoken:
    """Reads a Converse request."""
    turns = _Turns()
    for message in body["messages"]:
        role = {"user": "user", "assistant": "model"}[message["role"]]
        turns.add(role, [_bedrock_item(block) for block in message["content"]])
    config, more = body.get("inferenceConfig", {}), body.get("additionalModelRequestFields", {})
    tools = body.get("toolConfig", {})
    chosen = tools.get("toolChoice", {})
    choice: Any = {"any": "required", "auto": "auto"}.get(next(iter(chosen), ""))
    if "tool" in chosen:
        choice = ("only", chosen["tool"]["name"])
    form = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    specs = [each["toolSpec"] for each in tools.get("tools", ())]
    settings = _given(
        max_tokens=config.get("maxTokens"),
        stop=config.get("stopSequences"),
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        tools=[_tool(spec["name"], spec.get("description"), spec["inputSchema"]["json"]) for spec in specs] or None,
        tool_choice=choice,
        response_format=json.loads(form["schema"]) if form else None,
        reasoning_effort=bool(more.keys() & {"thinking", "reasoningConfig"}) or None,
    )
    system = _out_of_prompt([block["text"] for block in body.get("system", ())], settings)
    return Spoken(system, turns.made, settings)


# OpenAI Responses


def _responses_part(part: dict[str, Any]) -> Item:
    if part["type"] == "input_image":
        return _data(part["image_url"])
    if part["type"] == "input_file":
        return _data(part["file_data"], part["filename"])
    return ("text", part["text"])


def _responses_items(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)] if content else []
    return [_responses_part(part) for part in content]


def _responses_result(item: dict[str, Any]) -> Item:
    return ("result", item["call_id"], *_failed(_responses_items(item["output"])))


def responses(body: dict[str, Any]) -> Spoken:
    """Reads a request of OpenAI's Responses. A failed result is marked in its text."""
    system = [body["instructions"]] if "instructions" in body else []
    turns = _Turns()
    for item in body["input"]:
        if item["type"] == "reasoning":
            thought = "".join(part["text"] for part in item["summary"])
            turns.add("model", [("thought", thought, f"openai:0:{item['id']}:{item['encrypted_content']}")])
        elif item["type"] == "function_call":
            turns.add("model", [("call", item["call_id"], item["name"], json.loads(item["arguments"]))])
        elif item["type"] == "function_call_output":
            turns.add("user", [_responses_result(item)])
        elif item["role"] in ("system", "developer"):
            system += [told[1] for told in _responses_items(item["content"])]
        else:
            turns.add({"user": "user", "assistant": "model"}[item["role"]], _responses_items(item["content"]))
    choice, form = body.get("tool_choice"), body.get("text", {}).get("format")
    settings = _given(
        max_tokens=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        tools=[_tool(tool["name"], tool.get("description"), tool["parameters"]) for tool in body.get("tools", ())]
        or None,
        tool_choice=("only", choice["name"]) if isinstance(choice, dict) else choice,
        parallel_tool_calls=body.get("parallel_tool_calls"),
        response_format=form and form.get("schema", "json"),
        reasoning_effort=body.get("reasoning", {}).get("effort", "none") != "none" or None,
    )
    return Spoken(system, turns.made, settings)


# Cohere


def cohere(body: dict[str, Any]) -> Spoken:
    """Reads a request of Cohere's. What the model says beside its calls is their plan."""
    messages = []
    for message in body["messages"]:
        if "tool_plan" in message:
            thoughts = message.get("content") or []
            message = {**message, "content": [*thoughts, {"type": "text", "text": message["tool_plan"]}]}
        messages.append(message)
    wanted = body.get("response_format")
    form = wanted and {"json_schema": {"schema": wanted["json_schema"]}} if "json_schema" in (wanted or {}) else wanted
    found = mistral(
        {
            **body,
            "messages": messages,
            "top_p": body.get("p"),
            "random_seed": body.get("seed"),
            "stop": body.get("stop_sequences"),
            "tool_choice": {"REQUIRED": "required", "NONE": "none", None: None}[body.get("tool_choice")],
            "response_format": form,
            "reasoning_effort": "high" if body.get("thinking", {}).get("type") == "enabled" else "none",
        }
    )
    return found


Reader = Callable[[dict[str, Any]], Spoken]
