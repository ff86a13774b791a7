"""Completions request → text request.

The prompt becomes one turn of a conversation, for Anthropic's text models take nothing else; a prompt that already
has the markers is left as it is. What has no counterpart is named in `Outbound.dropped`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.reading import read
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
_decode_stop = msgspec.json.Decoder(str | list[str]).decode

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")
"""What does not go into a header's value: these names are the client's words."""
_ABSENT = (Raw(b"null"), Raw(_encode(peek.DEFAULT)))


def translate(call: Call) -> Outbound:
    """The text request for `call`. Raises InvalidRequest with the path of the field at fault."""
    body: dict[str, Any] = {"model": call.model, "prompt": None, "max_tokens_to_sample": DEFAULT_MAX_TOKENS}
    dropped: list[str] = []
    for name, raw in peek.fields(call.body).items():
        if raw in _ABSENT:
            continue
        put = _FIELDS.get(name)
        if name == "metadata":
            dropped += _metadata(body, raw)
        elif put is not None:
            put(body, name, raw)
        elif raw not in _HARMLESS.get(name, ()):
            dropped.append(name)
    if body["prompt"] is None:
        raise InvalidRequest("The request needs `prompt`.", "prompt")
    if call.stream:
        body["stream"] = True
    return Outbound(_encode(body), (), tuple(dropped))


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
    stop = read(_decode_stop, raw, name)
    body["stop_sequences"] = [stop] if isinstance(stop, str) else stop


def _user(body: dict[str, Any], name: str, raw: Raw) -> None:
    body["metadata"] = {"user_id": read(_decode_str, raw, name)}


def _metadata(body: dict[str, Any], raw: Raw) -> list[str]:
    """Of OpenAI's free-form metadata this API knows one name; returns the others."""
    given = read(_decode_metadata, raw, "metadata")
    user_id = given.pop("user_id", _ABSENT[0])
    if user_id != _ABSENT[0]:
        body["metadata"] = {"user_id": read(_decode_str, user_id, "metadata.user_id")}
    return [f"metadata.{_UNFIT.sub('_', name[:80])}" for name in given]


def _forward(body: dict[str, Any], name: str, raw: Raw) -> None:
    body[name] = raw


def _ignore(body: dict[str, Any], name: str, raw: Raw) -> None:
    """Known from the call; and without a count of tokens there is nothing that stream options could ask for."""


_FIELDS: dict[str, Callable[[dict[str, Any], str, Raw], None]] = {
    "model": _ignore,
    "stream": _ignore,
    "stream_options": _ignore,
    "prompt": _prompt,
    "max_tokens": _max_tokens,
    "temperature": _number,
    "top_p": _number,
    "top_k": _number,
    "stop": _stop,
    "user": _user,
    # Anthropic's own.
    "max_tokens_to_sample": _max_tokens,
    "stop_sequences": _forward,
}

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
