"""Recorded traffic of real providers, where a checkout of it lies beside this repository; else there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3] / "shared" / "recordings"


class Exchange(NamedTuple):
    """One recorded request and its answer, either of them decoded from JSON or as text."""

    name: str
    url: str
    request: Any
    status: int
    response: Any


def chat_streams() -> dict[str, list[dict[str, Any]]]:
    """Chunks of recorded chat streams by name."""
    streams = {}
    for path in sorted(ROOT.glob("fixtures/*/*.chunks.txt")):
        lines = [line for line in path.read_text().split("\n") if line.strip()]
        if lines and '"choices":[' in lines[0]:
            streams[f"{path.parent.name}/{path.name}"] = [json.loads(line) for line in lines]
    for each in exchanges("/chat/completions"):
        if each.status == 200 and isinstance(each.response, str):
            lines = [line[6:] for line in each.response.split("\n") if line.startswith("data: {")]
            streams[each.name] = [json.loads(line) for line in lines]
    return streams


def exchanges(path_end: str) -> Iterator[Exchange]:
    """All recorded exchanges whose URL's path ends so."""
    for path in sorted(ROOT.glob("exchanges/*/*.json")):
        for number, each in enumerate(json.loads(path.read_text())):
            url = each["request"]["url"].partition("?")[0]
            response = each["response"]
            if url.endswith(path_end):
                yield Exchange(
                    f"{path.parent.name}/{path.stem}/{number}",
                    url,
                    each["request"].get("json"),
                    response["status"],
                    response.get("json", response.get("text")),
                )


def said_in(usage: dict[str, Any]) -> int:
    """The tokens of an answer in OpenAI's meaning: xAI's chat tells what was thought beside what was said."""
    said = int(usage["completion_tokens"])
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return said + (thought if usage.get("total_tokens") == usage["prompt_tokens"] + said + thought else 0)
