"""Recorded answers of real providers, read by the SDKs of all other dialects.

Each recorded chat exchange is served as the upstream. Its own SDK reads it without the gateway; then the SDKs of the
other dialects ask through the gateway, and must read the same text, tool calls, stop reason and usage; of a recorded
refusal, the same status and the provider's words.

    python -m tests.matrix.replay          # how many do, of how many; every miss with its reason

It exits with 1 where a miss has no reason in `explained`, or a reason no miss. The recordings are those of
`tests.adapters.recordings`; where there are none, nothing is read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
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
from tests.matrix.explained import EXPLAINED, Reason
from tests.matrix.natives import INVOKE, NATIVES
from tests.matrix.test_matrix import config

_DIALECTS: dict[str, tuple[str, str]] = {
    "/chat/completions": ("OpenAI chat", "m-openai"),
    "/responses": ("OpenAI Responses", "m-recorded"),
    "/v1/messages": ("Anthropic Messages", "m-anthropic"),
    ":generateContent": ("Gemini", "m-gemini"),
    ":streamGenerateContent": ("Gemini", "m-gemini"),
    "/converse": ("Bedrock Converse", "m-bedrock"),
    "/converse-stream": ("Bedrock Converse", "m-bedrock"),
    "/invoke": (INVOKE, "m-bedrock"),
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
    status: int = 200

    @property
    def said(self) -> str:
        """What the provider says went wrong, where it refused."""
        told = json.loads(self.body)
        return str(told.get("error", told)["message"])

    def readers(self, own: Seen | Failed) -> Iterator[str]:
        """The clients that can read it otherwise than its own SDK does, given what that reads."""
        for client in CLIENTS:
            if client == self.dialect or client.partition(",")[0] == self.dialect:
                continue
            # Completions have no place for calls; and only Anthropic's clients are led to this one of Bedrock's APIs.
            if client == "OpenAI completions" and isinstance(own, Seen) and own.calls:
                continue
            if self.dialect == INVOKE and client != "Anthropic Messages":
                continue
            yield client


def recordings() -> Iterator[Recording]:
    """Every recorded chat exchange."""
    for path in sorted(ROOT.glob("exchanges/*/*.json")):
        for number, each in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            url = unquote(each["request"]["url"].partition("?")[0])
            found = next((spoken for end, spoken in _DIALECTS.items() if url.endswith(end)), None)
            answer = each["response"]
            if found is None:
                continue
            streamed = "stream" in url.rpartition("/")[2].lower() or "event-stream" in _type(answer)
            name = f"{path.parent.name}/{path.stem}/{number}"
            yield Recording(name, *found, streamed, _type(answer), _body(answer), answer["status"])


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
        return web.Response(status=kept.status, body=kept.body, headers={"content-type": kept.content_type})


Read = Callable[[str, str, bool], "Seen | Failed"]


class Miss(NamedTuple):
    """What an SDK read otherwise than the recording's own."""

    recording: str
    client: str
    field: str
    own: object
    other: object


_FIELDS = ("text", "calls", "stop", "input", "output")


def reason_of(miss: Miss) -> Reason | None:
    """Why a difference is right; None where nobody knows."""
    reason = EXPLAINED.get((miss.recording, miss.field))
    return None if reason is None or miss.client in reason.spares else reason


class Report(NamedTuple):
    """How much was read: (recording, client) pairs, and what differed."""

    read: list[tuple[Recording, str]]
    misses: list[Miss]

    @property
    def alike(self) -> int:
        """How many were read as the recording's own SDK reads them."""
        return len(self.read) - len({(miss.recording, miss.client) for miss in self.misses})

    @property
    def unexplained(self) -> list[Miss]:
        """Misses without a reason."""
        return [miss for miss in self.misses if reason_of(miss) is None]

    @property
    def unneeded(self) -> list[tuple[str, str, str]]:
        """Reasons without a miss: recording, field, and the client that reads it as the recording's own SDK does."""
        missed = {(miss.recording, miss.field, miss.client) for miss in self.misses}
        readers: dict[str, list[str]] = {}
        for each, client in self.read:
            readers.setdefault(each.name, []).append(client)
        expected = [
            (name, field, client)
            for (name, field), reason in EXPLAINED.items()
            for client in readers.get(name, ["nobody"])
            if client not in reason.spares
        ]
        return [each for each in expected if each not in missed]


def compare(kept: list[Recording], directory: Path) -> Report:
    """Reads everything with everyone."""
    read: list[tuple[Recording, str]] = []
    misses: list[Miss] = []
    with Replayer(kept) as upstream, Gateway(directory, config(upstream.url)) as gateway:
        for number, each in enumerate(kept):
            model = f"anthropic.claude-rec-{number}" if each.dialect == INVOKE else f"rec-{number}"
            own = NATIVES[each.dialect](upstream.url, model, each.streamed)
            for client in each.readers(own):
                other = CLIENTS[client](gateway.url, SEED_KEY, each.slug, model, each.streamed)
                read.append((each, client))
                misses += _differences(each, client, own, other)
    return Report(read, misses)


def _differences(each: Recording, client: str, own: Seen | Failed, other: Seen | Failed) -> Iterator[Miss]:
    if isinstance(own, Seen) and isinstance(other, Seen):
        for field in _FIELDS:
            if getattr(own, field) != getattr(other, field):
                yield Miss(each.name, client, field, getattr(own, field), getattr(other, field))
    elif isinstance(own, Failed) and isinstance(other, Failed):
        if own.status != other.status:
            yield Miss(each.name, client, "status", own, other)
        if each.said not in other.message:
            yield Miss(each.name, client, "message", each.said, other.message)
    else:
        yield Miss(each.name, client, "answer", own, other)


def main() -> int:
    """Prints the figures and every miss; the exit code."""
    kept = list(recordings())
    if not kept:
        print("There are no recordings beside this checkout.")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        report = compare(kept, Path(directory))
    missed = {(miss.recording, miss.client) for miss in report.misses}
    asked = Counter((each.dialect, client) for each, client in report.read)
    wrong = Counter((each.dialect, client) for each, client in report.read if (each.name, client) in missed)
    for (dialect, client), count in sorted(asked.items()):
        print(f"{dialect} read by {client}: {count - wrong[dialect, client]} of {count}")
    for miss in report.misses:
        reason = reason_of(miss)
        print(f"{'UNEXPLAINED' if reason is None else 'explained'}: {miss.recording} [{miss.client}] {miss.field}")
        print(f"  own   {miss.own!r:.300}\n  other {miss.other!r:.300}")
        if reason is not None:
            print(f"  {reason.words}")
    for name, field, client in report.unneeded:
        print(f"NO LONGER A MISS: {name} [{client}] {field}")
    print(
        f"all: {report.alike} of {len(report.read)}, from {len(kept)} recordings; "
        f"{len(report.misses) - len(report.unexplained)} misses explained, {len(report.unexplained)} not"
    )
    return 1 if report.unexplained or report.unneeded else 0


if __name__ == "__main__":
    sys.exit(main())
