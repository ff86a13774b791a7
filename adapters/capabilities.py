"""What becomes of a request's parameters on the way to a provider: asked of the codecs and of the rows themselves.

Nobody keeps a list of what is supported. Every parameter that a client dialect has is put into a small request, the
codec translates it, the row's quirks bend it, and what came out is compared with what comes out without it. So the
report cannot say anything that the gateway does not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from adapters.betas import BEDROCK, VERTEX, Known
from adapters.errors import InvalidRequest
from adapters.provider import Provider
from adapters.quirks import Quirks
from adapters.registry import codec
from adapters.types import Call, Dialect

_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
_SCHEMA = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
_SAMPLING: dict[str, Any] = {"temperature": 0.5, "top_p": 0.5, "max_tokens": 16, "seed": 7, "user": "u"}

_CHAT_BASE: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
_CHAT: dict[str, Any] = {
    **_SAMPLING,
    "max_completion_tokens": 16,
    "top_k": 5,
    "n": 2,
    "stop": ["a", "b"],
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "tools": [_TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": _SCHEMA},
    "reasoning_effort": "low",
    "modalities": ["text"],
    "audio": {"voice": "alloy", "format": "wav"},
    "prediction": {"type": "content", "content": "hello"},
    "service_tier": "auto",
    "store": True,
    "metadata": {"a": "b"},
    "verbosity": "low",
    "web_search_options": {},
    "prompt_cache_key": "k",
    "safety_identifier": "u",
    "stream_options": {"include_usage": True},
}
# What only shows together with another parameter.
_BESIDE: dict[str, tuple[str, ...]] = {
    "tool_choice": ("tools",),
    "parallel_tool_calls": ("tools",),
    "top_logprobs": ("logprobs",),
    "audio": ("modalities",),
}
_PARTS: dict[str, Any] = {
    "system message": {"messages": [{"role": "system", "content": "be brief"}, *_CHAT_BASE["messages"]]},
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
                ],
            }
        ]
    },
    "image by URL": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            }
        ]
    },
    "audio input": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                ],
            }
        ]
    },
    "file": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    },
                ],
            }
        ]
    },
}

PROBES: dict[Dialect, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    Dialect.OPENAI_CHAT: (_CHAT_BASE, _CHAT, _PARTS),
    Dialect.OPENAI_COMPLETIONS: (
        {"prompt": "hello"},
        {
            **_SAMPLING,
            "n": 2,
            "stop": ["a", "b"],
            "frequency_penalty": 0.5,
            "presence_penalty": 0.5,
            "logit_bias": {"50256": -100},
            "logprobs": 2,
            "echo": True,
            "best_of": 2,
            "suffix": "x",
            "stream_options": {"include_usage": True},
        },
        {},
    ),
    Dialect.OPENAI_RESPONSES: (
        {"input": "hello"},
        {
            "instructions": "be brief",
            "temperature": 0.5,
            "top_p": 0.5,
            "max_output_tokens": 16,
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "text": {"format": {"type": "json_schema", **_SCHEMA}},
            "reasoning": {"effort": "low"},
            "previous_response_id": "resp_1",
            "store": False,
            "metadata": {"a": "b"},
            "service_tier": "auto",
            "truncation": "auto",
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "k",
            "safety_identifier": "u",
            "top_logprobs": 2,
            "background": True,
            "max_tool_calls": 2,
            "user": "u",
        },
        {},
    ),
    Dialect.OPENAI_EMBEDDINGS: (
        {"input": "hello"},
        {"dimensions": 8, "encoding_format": "base64", "user": "u"},
        {"several inputs": {"input": ["a", "b"]}, "tokens": {"input": [1, 2]}},
    ),
    Dialect.ANTHROPIC_MESSAGES: (
        {"max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]},
        {
            "system": "be brief",
            "temperature": 0.5,
            "top_p": 0.5,
            "top_k": 5,
            "stop_sequences": ["a"],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
            "service_tier": "auto",
            "output_config": {"effort": "low"},
            "container": "c",
            "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "m"}],
            "context_management": {"edits": []},
        },
        {},
    ),
}
"""For each client dialect: a small request, its parameters with a value each, and kinds of content."""

MODELS: dict[Dialect, str] = {
    **dict.fromkeys((Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC), "claude-sonnet-4-5"),
    Dialect.BEDROCK_CONVERSE: "anthropic.claude-sonnet-4-5",
    Dialect.ANTHROPIC_COMPLETE: "claude-2.1",
}
"""Whose models differ in what they take: the reports tell of these."""
MODEL = "gpt-5-mini"

Leaves = Mapping[str, object]


class Fate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of one parameter.

    `fate` is `kept` (same name), `mapped` (`to` names where it goes), `dropped`, `refused` (`why`), or `here`: the
    gateway itself acts on it and the provider need not know.
    """

    fate: str
    to: tuple[str, ...] = ()
    why: str = ""


Sent = tuple[bytes, tuple[str, ...]]
"""A body, and what could not come along."""


class _Trial(msgspec.Struct, frozen=True):
    """One parameter, or one kind of content, tried: the request without it, with it, or why that was refused. `named`
    says whether it is a field of its own."""

    named: bool
    without: Sent
    with_: Sent | None
    why: str = ""


@cache
def _trials(client: Dialect, upstream: Dialect) -> dict[str, _Trial]:
    """Small requests translated between two dialects, by what was tried."""
    translate = codec(client, upstream)
    base, parameters, contents = PROBES[client]
    model = MODELS.get(upstream, MODEL)

    def sent(fields: Mapping[str, Any]) -> Sent:
        body = msgspec.json.encode({"model": model, **fields})
        out = translate.request(Call(client, model, False, body, "id", 0, strict=False))
        return out.body, out.dropped

    def tried(before: Mapping[str, Any], change: Mapping[str, Any], named: bool) -> _Trial:
        try:
            return _Trial(named, sent(before), sent({**before, **change}))
        except InvalidRequest as error:
            return _Trial(named, sent(before), None, error.message)

    found = {}
    for name, value in parameters.items():
        beside = {each: parameters[each] for each in _BESIDE.get(name, ()) if each in parameters}
        found[name] = tried({**base, **beside}, {name: value}, True)
    return {**found, **{name: tried(base, change, False) for name, change in contents.items()}}


def fates(client: Dialect, upstream: Dialect, quirks: Quirks | None = None) -> dict[str, Fate]:
    """What becomes of every parameter and kind of content between two dialects, at a provider that has `quirks`. Where
    bodies pass as they are, those that a patch of the quirks changes; empty for dialects whose requests have no
    parameters."""
    if client not in PROBES:
        return {}
    native = codec(client, upstream).identity
    if native and (quirks is None or quirks.patch is None):
        return {}
    found = {}
    for name, trial in _trials(client, upstream).items():
        if trial.with_ is None:
            found[name] = Fate("refused", why=trial.why)
        elif not native or (quirks is not None and name in quirks.touches):
            found[name] = _fate(name, trial.named, _bent(trial.without, quirks), _bent(trial.with_, quirks))
    return found


def _bent(sent: Sent, quirks: Quirks | None) -> Sent:
    if quirks is None:
        return sent
    body, lost = quirks.apply(sent[0])
    return body, sent[1] + lost


def _fate(name: str, named: bool, without: Sent, with_: Sent) -> Fate:
    before, after = (dict(_leaves(msgspec.json.decode(body))) for body, _ in (without, with_))
    dropped = [each for each in with_[1] if each not in without[1]]
    # Indexes are of no interest here: content that goes from a string to a list of parts is told by its new names.
    new = sorted({_plain(path) for path, value in after.items() if before.get(path, before) != value})
    heads = tuple(dict.fromkeys(path.partition(".")[0] for path in new))
    if named and any(each == name or each.startswith((f"{name}.", f"{name}[")) for each in dropped):
        return Fate("dropped")
    if dropped and not new:
        return Fate("dropped")
    if named and heads == (name,):
        return Fate("kept")
    return Fate("mapped", tuple(new[:6])) if new else Fate("here")


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from _leaves(below, f"{path}[{index}]")
    else:
        yield path, value


def _plain(path: str) -> str:
    out, inside = [], False
    for character in path:
        inside = character == "[" or (inside and character != "]")
        if not inside and character != "]":
            out.append(character)
    return "".join(out)


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one provider serves one client dialect.

    `support` is `native` (the bodies pass as they are) or `translated` (to `upstream`). `parameters` says what becomes
    of each; those it does not name pass with the body. `dropped` and `renamed` are the provider's own quirks. `models`
    are patterns of the only models that go this way, where others go another. `betas` are those of Anthropic's betas
    that are known there, and under which name; empty where all go as they are, or none concerns it.
    """

    dialect: str
    upstream: str
    support: str
    parameters: dict[str, Fate] = {}
    dropped: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    models: tuple[str, ...] = ()
    betas: dict[str, str] = {}


_BETAS: Mapping[Dialect, Known] = {
    Dialect.BEDROCK_ANTHROPIC: BEDROCK,
    Dialect.BEDROCK_COUNT_TOKENS: BEDROCK,
    Dialect.VERTEX_ANTHROPIC: VERTEX,
    Dialect.VERTEX_COUNT_TOKENS: VERTEX,
}


def operations(provider: Provider, served_by: Mapping[Dialect, tuple[Dialect, ...]]) -> list[Operation]:
    """Everything one provider can be asked for; `served_by` says which upstream dialects serve a client's, the most
    faithful first."""
    found = []
    for client, upstreams in served_by.items():
        spoken = [upstream for upstream in upstreams if upstream in provider.paths]
        if not provider.only:
            spoken = [each for each in spoken if each is spoken[0] or _apart(provider, each)]
        for upstream in spoken:
            quirks, native = provider.quirks.get(upstream), codec(client, upstream).identity
            if quirks is not None and quirks.native and not native:
                quirks = None
            found.append(
                Operation(
                    client,
                    upstream,
                    "native" if native else "translated",
                    fates(client, upstream, quirks),
                    () if quirks is None else quirks.drop,
                    {} if quirks is None else dict(quirks.rename),
                    provider.responses_only if upstream is not spoken[0] and _apart(provider, upstream) else (),
                    dict((quirks.betas if quirks is not None else None) or _BETAS.get(upstream, {})),
                )
            )
    return found


def _apart(provider: Provider, upstream: Dialect) -> bool:
    """Whether a dialect is for the models that have nothing else."""
    return upstream is Dialect.OPENAI_RESPONSES and bool(provider.responses_only)
