"""Completions request → text request.

The prompt becomes one turn of a conversation, for Anthropic's text models take nothing else; a prompt that already
has the markers is left as it is. What has no counterpart is named in `Outbound.dropped`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.chat.fields import options_of
from adapters.chat.request import stops_of
from adapters.errors import InvalidRequest
from adapters.reading import Dropped, read
from adapters.types import Call, Outbound

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"

DEFAULT_MAX_TOKENS = 4096
"""Sent where the client names no limit, for Anthropic wants one; the most that models of this API can say."""


_encode = msgspec.json.Encoder().encode
_decode_str = msgspec.json.Decoder(str).decode
_decode_prompt = msgspec.json.Decoder(str | list[Any]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_float = msgspec.json.Decoder(float).decode

_ABSENT = (Raw(b"null"), Raw(_encode(peek.DEFAULT)))


def translate(call: Call) -> Outbound:
    """The text request for `call`. Raises InvalidRequest with the path of the field at fault."""
    body: dict[str, Any] = {"model": call.model, "prompt": None, "max_tokens_to_sample": DEFAULT_MAX_TOKENS}
    dropped = Dropped()
    top = peek.fields(call.body)
    for name, raw in top.items():
        if raw in _ABSENT:
            continue
        put = _FIELDS.get(name)
        own = top.get(_OWN.get(name, ""), _ABSENT[0])
        if put is None or own not in (*_ABSENT, raw):
            if raw not in _HARMLESS.get(name, ()):
                dropped.add(name)
        elif own != raw:
            put(body, name, raw)
    _users(body, top, dropped)
    if "stream_options" in top and top["stream_options"] not in _ABSENT:
        options_of(top["stream_options"], "stream_options", dropped)
    if body["prompt"] is None:
        raise InvalidRequest("The request needs `prompt`.", "prompt")
    if call.stream:
        body["stream"] = True
    return Outbound(_encode(body), (), dropped.names())


def wrapped(prompt: str) -> str:
    """The prompt as one turn, unless it is a conversation already."""
    return prompt if HUMAN in prompt and ASSISTANT in prompt else f"{HUMAN} {prompt}{ASSISTANT}"


def _prompt(body: dict[str, Any], name: str, raw: Raw) -> None:
    prompt = read(_decode_prompt, raw, name)
    if isinstance(prompt, list):
        if prompt and not isinstance(prompt[0], str):
            raise InvalidRequest("Anthropic takes text, not token numbers.", "prompt")
        if len(prompt) != 1:
            raise InvalidRequest("Anthropic takes one prompt a request.", "prompt")
        prompt = prompt[0]
    body["prompt"] = wrapped(prompt)


def _max_tokens(body: dict[str, Any], name: str, raw: Raw) -> None:
    body["max_tokens_to_sample"] = read(_decode_int, raw, name)


def _number(body: dict[str, Any], name: str, raw: Raw) -> None:
    read(_decode_float, raw, name)
    body[name] = raw


def _stop(body: dict[str, Any], name: str, raw: Raw) -> None:
    stops = stops_of(raw, name)
    if stops:
        body["stop_sequences"] = stops


def _users(body: dict[str, Any], top: Mapping[str, Raw], dropped: Dropped) -> None:
    """OpenAI's `user`, and of its free-form metadata the one name that this API knows, which counts."""
    found: dict[str, str] = {}
    if top.get("user", _ABSENT[0]) not in _ABSENT:
        found["user"] = read(_decode_str, top["user"], "user")
    if top.get("metadata", _ABSENT[0]) not in _ABSENT:
        for name, value in read(_decode_metadata, top["metadata"], "metadata").items():
            if name != "user_id":
                dropped.add(f"metadata.{name}")
            elif value not in _ABSENT:
                found[name] = read(_decode_str, value, "metadata.user_id")
    if found:
        user_id = found.get("user_id", found.get("user"))
        body["metadata"] = {"user_id": user_id}
        if found.get("user", user_id) != user_id:
            dropped.add("user")


def _forward(body: dict[str, Any], name: str, raw: Raw) -> None:
    body[name] = raw


def _ignore(body: dict[str, Any], name: str, raw: Raw) -> None:
    """Known from the call, or read below the others."""


_FIELDS: dict[str, Callable[[dict[str, Any], str, Raw], None]] = {
    "model": _ignore,
    "stream": _ignore,
    "prompt": _prompt,
    "max_tokens": _max_tokens,
    "temperature": _number,
    "top_p": _number,
    "top_k": _number,
    "stop": _stop,
    "user": _ignore,
    "metadata": _ignore,
    "stream_options": _ignore,
    # Anthropic's own.
    "max_tokens_to_sample": _max_tokens,
    "stop_sequences": _forward,
}

_OWN = {"max_tokens": "max_tokens_to_sample", "stop": "stop_sequences"}
"""OpenAI's fields beside which Anthropic's own count."""
_NO, _ZERO, _FIRST = Raw(b"false"), (Raw(b"0"), Raw(b"0.0")), (Raw(b"1"),)
_HARMLESS: dict[str, tuple[Raw, ...]] = {
    "n": _FIRST,
    "best_of": _FIRST,
    "echo": (_NO,),
    "suffix": (Raw(b'""'),),
    "presence_penalty": _ZERO,
    "frequency_penalty": _ZERO,
    "logit_bias": (Raw(b"{}"),),
}
"""Values that ask for nothing: leaving them out loses nothing, so they are not reported."""
