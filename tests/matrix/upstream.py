"""A provider that speaks every upstream dialect and answers by script: the model's name says with which case."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web

from tests.matrix.cases import CASES, LOOP, Answer, Case
from tests.matrix.wire import DIALECTS

RETRY_AFTER = "7"
MESSAGE = "Too many requests, come back later."


def model(base: str, case: str) -> str:
    """The model's name that asks for a case."""
    return f"{base}--{case.replace(' ', '-')}"


_BY_SUFFIX = {name.replace(" ", "-"): case for name, case in {**CASES, LOOP.name: LOOP}.items()}
_RESULTS = ('"tool_result"', '"functionResponse"', '"toolResult"', '"role":"tool"', '"function_call_output"')
"""How the dialects mark a tool's result, in a body without spaces."""


class Upstream:
    """Runs on a thread of its own. `cases` are found by the last word of a model's name. `bodies` are the requests it
    got, as text, the newest last; `dialects` those they are in."""

    def __init__(self, cases: Mapping[str, Case] = _BY_SUFFIX) -> None:
        self._cases = cases
        self.bodies: list[str] = []
        self.dialects: list[str] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.bodies.append(text)
        body = json.loads(text)
        path = unquote(request.path)
        dialect, named, streamed = _addressed(path, body)
        case = self._cases[named.rpartition("--")[2]]
        self.dialects.append(dialect)
        spoken = DIALECTS[dialect]
        said = _answer(case, text)
        if case.status != 200:
            error = spoken.error(case.status, MESSAGE)
            headers = {"retry-after": RETRY_AFTER, "x-amzn-errortype": "ThrottlingException"}
            return web.json_response(error, status=case.status, headers=headers)
        if streamed:
            return await self._stream(request, case, said, dialect)
        whole = json.dumps(spoken.whole(said), ensure_ascii=False).encode()
        answer = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(whole))})
        await answer.prepare(request)
        if case.cut:
            await answer.write(whole[: len(whole) // 2])
            _break(request)
            return answer
        await answer.write(whole)
        return answer

    async def _stream(self, request: web.Request, case: Case, said: Answer, dialect: str) -> web.StreamResponse:
        spoken = DIALECTS[dialect]
        answer = web.StreamResponse(headers={"content-type": spoken.content_type})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        pieces = list(spoken.stream(said))
        if case.cut:
            await answer.write(b"".join(pieces[:-2])[:-7])
            await asyncio.sleep(0)
            _break(request)
            return answer
        for piece in pieces:
            await answer.write(piece)
        await answer.write_eof()
        return answer


def _answer(case: Case, body: str) -> Answer:
    results = sum(body.count(mark) for mark in _RESULTS)
    return (case.answer, *case.then)[min(results, len(case.then))]


def _break(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.close()


def _addressed(path: str, body: dict[str, Any]) -> tuple[str, str, bool]:
    """Which dialect a request is in, for which model, and whether its answer streams."""
    if path.endswith("/chat/completions"):
        return "openai", body["model"], bool(body.get("stream"))
    if path.endswith("/responses"):
        return "responses", body["model"], bool(body.get("stream"))
    if path.endswith("/messages"):
        return "anthropic", body["model"], bool(body.get("stream"))
    if path.endswith("/chat"):
        return "cohere", body["model"], bool(body.get("stream"))
    if ":generateContent" in path or ":streamGenerateContent" in path:
        named = path.rpartition("/")[2].partition(":")[0]
        return "gemini", named, ":stream" in path
    if "/invoke" in path:
        parts = path.split("/")
        return "anthropic on bedrock", parts[-2], parts[-1] == "invoke-with-response-stream"
    if "/converse" in path:
        parts = path.split("/")
        return "bedrock", parts[-2], parts[-1] == "converse-stream"
    raise AssertionError(f"nobody knows {path}")
