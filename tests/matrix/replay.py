"""Recorded answers of real providers, read by the SDKs of all other dialects.

Each recorded chat exchange is served as the upstream. Its own SDK reads it without the gateway; then the SDKs of the
other dialects ask through the gateway, and must read the same text, tool calls, stop reason and usage.

    python -m tests.matrix.replay          # how many do, of how many; every miss with its reason

The recordings are those of `tests.adapters.recordings`; where there are none, nothing is read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from aiohttp import web

from tests.adapters.recordings import ROOT
from tests.fakes.gateway import SEED_KEY, Gateway
from tests.matrix.cases import Failed, Seen
from tests.matrix.clients import CLIENTS
from tests.matrix.natives import NATIVES
from tests.matrix.test_matrix import config

_DIALECTS: dict[str, tuple[str, str]] = {
    "/chat/completions": ("OpenAI chat", "m-openai"),
    "/responses": ("OpenAI Responses", "m-recorded"),
    "/v1/messages": ("Anthropic Messages", "m-anthropic"),
    ":generateContent": ("Gemini", "m-gemini"),
    ":streamGenerateContent": ("Gemini", "m-gemini"),
    "/converse": ("Bedrock Converse", "m-bedrock"),
    "/converse-stream": ("Bedrock Converse", "m-bedrock"),
    "/v2/chat": ("Cohere v2", "m-cohere"),
}
"""How a recorded URL ends: the dialect, and the virtual key that leads to an upstream of it."""


class Recording(NamedTuple):
    """One recorded answer. `body` are its bytes as the provider sent them."""

    name: str
    dialect: str
    slug: str
    streamed: bool
    content_type: str
    body: bytes


def recordings() -> Iterator[Recording]:
    """Every recorded chat exchange that was answered well."""
    for path in sorted(ROOT.glob("exchanges/*/*.json")):
        for number, each in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            url = unquote(each["request"]["url"].partition("?")[0])
            found = next((spoken for end, spoken in _DIALECTS.items() if url.endswith(end)), None)
            answer = each["response"]
            if found is None or answer["status"] != 200:
                continue
            streamed = "stream" in url.rpartition("/")[2].lower() or "event-stream" in _type(answer)
            yield Recording(f"{path.parent.name}/{path.stem}/{number}", *found, streamed, _type(answer), _body(answer))


def _type(answer: dict[str, Any]) -> str:
    value = answer["headers"].get("content-type", "application/json")
    return str(value[0] if isinstance(value, list) else value)


def _body(answer: dict[str, Any]) -> bytes:
    if "json" in answer:
        return json.dumps(answer["json"], ensure_ascii=False).encode()
    return base64.b64decode(answer["base64"]) if "base64" in answer else str(answer["text"]).encode()


class Replayer:
    """Serves recordings by number: whatever has `rec-N` in its path or as its model gets the answer of number N."""

    def __init__(self, kept: list[Recording]) -> None:
        self._kept = kept
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        text = unquote(request.path) + (await request.text())
        number = int(text.partition("rec-")[2].split('"', 1)[0].split("/", 1)[0].split(":", 1)[0])
        kept = self._kept[number]
        return web.Response(body=kept.body, headers={"content-type": kept.content_type})


Read = Callable[[str, str, bool], "Seen | Failed"]


class Miss(NamedTuple):
    """What an SDK read otherwise than the recording's own."""

    recording: str
    client: str
    field: str
    own: object
    other: object


_FIELDS = ("text", "calls", "stop", "input", "output")

EXPLAINED: dict[tuple[str, str], str] = {
    (
        "myorg-myaccount.snowflakecomputing.com/",
        "stop",
    ): "The provider gives no finish reason. A dialect that must have one says what the answer amounts to.",
    ("api.openai.com/test_openai_responses__test_background_mode", "answer"): "The response runs in the background and "
    "is no answer yet, which dialects without such a state can only tell as a failure.",
    ("openrouter.ai/test_openrouter__test_openrouter_tool_optional_parameters/0", "answer"): "A tool call's arguments "
    "are null, which is no JSON text; other dialects show a call without arguments.",
}
"""Why an SDK may read something else than the recording's own: how the recording's name begins, and what differs."""


def explained(miss: Miss) -> bool:
    """Whether a difference has a reason that is known and right."""
    return any(miss.recording.startswith(name) and miss.field == field for name, field in EXPLAINED)


def compare(kept: list[Recording], directory: Path) -> tuple[Counter[tuple[str, str]], list[Miss]]:
    """Reads everything with everyone; how many were read by (dialect, client), and what differed."""
    read: Counter[tuple[str, str]] = Counter()
    misses: list[Miss] = []
    with Replayer(kept) as upstream, Gateway(directory, config(upstream.url)) as gateway:
        for number, each in enumerate(kept):
            model = f"rec-{number}"
            own = NATIVES[each.dialect](upstream.url, model, each.streamed)
            for client, ask in CLIENTS.items():
                if client in (each.dialect, "OpenAI completions") or each.dialect == client.partition(",")[0]:
                    continue
                other = ask(gateway.url, SEED_KEY, each.slug, model, each.streamed)
                read[(each.dialect, client)] += 1
                misses += _differences(each, client, own, other)
    return read, misses


def _differences(each: Recording, client: str, own: Seen | Failed, other: Seen | Failed) -> Iterator[Miss]:
    if isinstance(own, Failed) or isinstance(other, Failed):
        if not (isinstance(own, Failed) and isinstance(other, Failed)):
            yield Miss(each.name, client, "answer", own, other)
        return
    for field in _FIELDS:
        if getattr(own, field) != getattr(other, field):
            yield Miss(each.name, client, field, getattr(own, field), getattr(other, field))


def main() -> None:
    """Prints the figures and every miss."""
    kept = list(recordings())
    with tempfile.TemporaryDirectory() as directory:
        read, misses = compare(kept, Path(directory))
    missed = {(miss.recording, miss.client) for miss in misses}
    by_name = {each.name: each.dialect for each in kept}
    for (dialect, client), count in sorted(read.items()):
        wrong = sum(by_name[name] == dialect and who == client for name, who in missed)
        print(f"{dialect} read by {client}: {count - wrong} of {count}")
    print(f"all: {sum(read.values()) - len(missed)} of {sum(read.values())}, from {len(kept)} recordings")
    for miss in misses:
        print(
            "explained: " * explained(miss)
            + f"{miss.recording} [{miss.client}] {miss.field}:\n  own   {miss.own!r:.300}\n  other {miss.other!r:.300}"
        )


if __name__ == "__main__":
    main()
