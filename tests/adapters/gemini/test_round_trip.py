"""What both dialects can say survives the way there: a chat request becomes Gemini's and is read back plainly."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.gemini.script import translated

TEXTS = st.text(min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True).filter(lambda name: "search" not in name)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=3)


@st.composite
def conversations(draw: Any) -> list[dict[str, Any]]:
    """Turns of users and models in alternation, each model's calls answered before the next turn."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXTS)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXTS)})
        calls = [
            {
                "id": f"call_{turn}_{number}",
                "type": "function",
                "function": {"name": draw(NAMES), "arguments": json.dumps(draw(ARGUMENTS))},
            }
            for number in range(draw(st.integers(0, 3)))
        ]
        said: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS) if not calls else None}
        if calls:
            said["tool_calls"] = calls
        messages.append(said)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(TEXTS)} for call in calls]
        if calls:
            messages.append({"role": "assistant", "content": draw(TEXTS)})
    return messages


def read_back(sent: dict[str, Any]) -> list[dict[str, Any]]:
    messages = [
        {"role": "system", "content": part["text"]} for part in sent.get("systemInstruction", {}).get("parts", [])
    ]
    for content in sent["contents"]:
        calls = []
        for part in content["parts"]:
            if "functionCall" in part:
                called = part["functionCall"]
                function = {"name": called["name"], "arguments": json.dumps(called["args"])}
                calls.append({"id": called["id"], "type": "function", "function": function})
            elif "functionResponse" in part:
                result = part["functionResponse"]
                messages.append({"role": "tool", "tool_call_id": result["id"], "content": result["response"]["output"]})
            else:
                role = {"user": "user", "model": "assistant"}[content["role"]]
                messages.append({"role": role, "content": part["text"]})
        if calls:
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    return messages


@given(conversations())
def test_a_conversation_survives(messages: list[dict[str, Any]]) -> None:
    assert read_back(translated(messages=messages)) == messages
