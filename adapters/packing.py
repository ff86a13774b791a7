"""What one dialect has no field for, carried through its clients in a field that they send back unread.

A text of ours is `loopway.1.` and the URL-safe base64 of a JSON array of objects: the `content_blocks` of an answer as
they were (thinking with its signature, redacted thinking, tools that ran at the provider), or
`{"type": "call_signature", "call_id": …, "signature": …}` for the signature that some models give with a tool call.
Responses clients carry it as `encrypted_content` of reasoning items, Anthropic's as `data` of redacted thinking. It is
not secret and not signed: it says nothing that the client has not been told, and a provider checks its own signatures.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

PREFIX = "loopway.1."
CALL_SIGNATURE = "call_signature"
SAID = "said"
"""Stands among what was packed where so many characters (`length`) of the answer's text come."""
OPENAI_ITEM = "openai_item"
"""The content block that holds an item of OpenAI's Responses without a word in any other dialect, such as a web search
that ran there; or the `phase` of what is said after it."""
FINAL_ANSWER = Raw(b'"final_answer"')
"""The phase of what a model says to whoever asked. What has no phase is taken for it, so only others need be told:
https://developers.openai.com/api/docs/guides/prompt-guidance (`phase`)."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Raw]).decode


class Packed(msgspec.Struct, gc=False):
    """The fields by which what was packed is told apart."""

    type: str = ""
    call_id: str = ""
    signature: str = ""
    length: int = 0


read_head = msgspec.json.Decoder(Packed).decode
"""Decodes one unpacked object. Raises what msgspec raises."""


def pack(blocks: Sequence[Raw | dict[str, Any]]) -> str:
    """The text that carries `blocks`."""
    return PREFIX + urlsafe_b64encode(_encode(blocks)).decode()


def pack_signature(call_id: str, signature: str) -> str:
    """The text that carries the signature of one tool call."""
    return pack([{"type": CALL_SIGNATURE, "call_id": call_id, "signature": signature}])


def pack_phase(phase: Raw) -> str:
    """The text that carries the phase (a JSON string) of what is said after it."""
    return pack([{"type": OPENAI_ITEM, "phase": phase}])


def unpack(text: str) -> list[Raw] | None:
    """The objects in a text of ours, each as JSON; None for any other text."""
    if not text.startswith(PREFIX):
        return None
    try:
        data = urlsafe_b64decode(text[len(PREFIX) :])
        data.decode()
        blocks = _decode(data)
        for each in blocks:
            read_head(each)
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        return None
    return blocks
