"""What the odd ones out among the providers want: changes of a body that are no mere names.

Each is a `adapters.quirks.Patch`: it changes the top level of a body in place and names what could not come along.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters.quirks import Fields, asks_nothing
from adapters.values import BRACE, first

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(Fields).decode
_int = msgspec.json.Decoder(int | None).decode
_strings = msgspec.json.Decoder(list[str] | None).decode
_NULL = Raw(b"null")

PENALTIES = ("presence_penalty", "frequency_penalty")


def without_zero_penalties(fields: Fields) -> tuple[str, ...]:
    """Grok refuses penalties even of zero, which many clients always send; others stay, for older models take them."""
    for name in PENALTIES:
        if name in fields and asks_nothing(name, fields[name]):
            del fields[name]
    return ()


def counted_logprobs(fields: Fields) -> tuple[str, ...]:
    """Together has one field for log probabilities, which says how many."""
    wanted, count = fields.pop("logprobs", Raw(b"false")), _int(fields.pop("top_logprobs", _NULL))
    if bytes(wanted) == b"true":
        fields["logprobs"] = Raw(b"%d" % max(count or 0, 1))
    elif not asks_nothing("logprobs", wanted):
        fields["logprobs"] = wanted  # its own: a number
    return ()


def perplexitys(fields: Fields) -> tuple[str, ...]:
    """Perplexity refuses fields that it does not know (`json: unknown field`). It has the format of an answer where
    OpenAI's chat has it, and no other field of `text`; it has no encrypted thoughts to include, nor anything else."""
    lost: tuple[str, ...] = ()
    if any(each != "reasoning.encrypted_content" for each in _strings(fields.pop("include", _NULL)) or ()):
        lost = ("include",)
    if first(fields.get("text", _NULL)) != BRACE:
        return lost
    text = _object(fields.pop("text"))
    format_ = text.pop("format", _NULL)
    if first(format_) == BRACE and "response_format" not in fields:
        named = _object(format_)
        kind = named.pop("type", _NULL)
        if bytes(kind) == b'"json_schema"':
            fields["response_format"] = Raw(_encode({"type": kind, "json_schema": named}))
        elif bytes(kind) != b'"text"':
            fields["response_format"] = format_
    return lost + tuple(f"text.{name}" for name, value in text.items() if not asks_nothing(name, value))


def floats_by_default(fields: Fields) -> tuple[str, ...]:
    """Voyage gives lists of numbers where no encoding is asked for, and has no word for them."""
    if bytes(fields.get("encoding_format", b"")) == b'"float"':
        del fields["encoding_format"]
    return ()
