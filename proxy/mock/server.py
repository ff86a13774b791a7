"""The mock's HTTP side: reads requests, finds their route, and answers, keeping the ledger right whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from adapters.values import UNREADABLE
from proxy.errors import StartupError
from proxy.mock import anthropic, azure, bedrock, cohere, gemini, modes, openai, openai_more, responses
from proxy.mock.answer import Answer, Incoming, Pairs, Refusal, Route, Stream, Whole, encode
from proxy.mock.ledger import KEPT_BODY, Ledger, Record, State
from proxy.mock.modes import Mode
from proxy.mock.multipart import Form, boundary
from proxy.mock.wire import Sent, Wire

_MAX_JSON = 64 * 1024 * 1024
_MAX_HEAD = 64 * 1024
_BACKLOG = 4096
_CLOSING_GRACE = 0.05
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_JUNK = b"<html><body>This is no JSON.</body></html>"
_WRONG: dict[str, Any] = {"unexpected": True, "items": [1, 2, 3]}


_ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/v1/chat/completions"): Route(openai.FAMILY, openai.chat),
    ("POST", "/v1/completions"): Route(openai.FAMILY, openai.completions),
    ("POST", "/v1/embeddings"): Route(openai.FAMILY, openai_more.embeddings),
    ("POST", "/v1/responses"): Route(openai.FAMILY, responses.responses),
    ("POST", "/v1/fim/completions"): Route(openai.FAMILY, openai_more.fim),
    ("POST", "/v1/rerank"): Route(openai.FAMILY, cohere.ranked),
    ("POST", "/v2/chat"): Route(cohere.FAMILY, cohere.chat, outside=True),
    ("POST", "/v2/embed"): Route(cohere.FAMILY, cohere.embed, outside=True),
    ("POST", "/v2/rerank"): Route(cohere.FAMILY, cohere.rerank, outside=True),
    ("POST", "/v1/moderations"): Route(openai.FAMILY, openai_more.moderations),
    ("POST", "/v1/images/generations"): Route(openai.FAMILY, openai_more.images),
    ("POST", "/v1/audio/speech"): Route(openai.FAMILY, openai_more.speech),
    ("POST", "/v1/audio/transcriptions"): Route(openai.FAMILY, openai_more.transcriptions, json=False),
    ("POST", "/v1/files"): Route(openai.FAMILY, openai_more.files, json=False),
    ("GET", "/v1/models"): Route(openai.FAMILY, openai_more.models, json=False),
    ("POST", "/v1/messages"): Route(anthropic.FAMILY, anthropic.messages),
    ("POST", "/v1/messages/count_tokens"): Route(anthropic.FAMILY, anthropic.count_tokens),
    ("POST", "/v1/complete"): Route(anthropic.FAMILY, anthropic.complete),
    ("GET", "/v1beta/models"): Route(gemini.FAMILY, gemini.models, json=False),
}
_ECHO = Route(openai.FAMILY, openai_more.echo, json=False)
_MODEL = Route(openai.FAMILY, openai_more.model, json=False)
_ANTHROPIC_TWINS = {
    openai_more.models: Route(anthropic.FAMILY, anthropic.models, json=False),
    openai_more.model: Route(anthropic.FAMILY, anthropic.model, json=False),
    openai_more.echo: Route(anthropic.FAMILY, openai_more.echo, json=False),
}
"""Where both providers have the same path: who answers when the request says `anthropic-version`."""


class Mock:
    """The mock provider. `start`, use `url`, `close`; `ledger` says what happened."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.host = ""
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The address without a path: `http://127.0.0.1:9100`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens; port 0 picks a free one. Raises StartupError when the address cannot be had."""
        self._server = _Server(self._handle, self.ledger)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._server, host, port, backlog=_BACKLOG)
        except OSError as exc:
            # asyncio words a failed bind itself, name and port included; a name that does not resolve has errno < 0.
            reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or exc
            raise StartupError(f"cannot listen on {host}:{port}: {reason}") from exc
        self.host = host
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and drops all connections."""
        if self._listener is None or self._server is None:
            return
        self._listener.close()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        # aiohttp takes 0 for no limit.
        await self._server.shutdown(_CLOSING_GRACE)
        await self._listener.wait_closed()
        self._listener = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw, _, query = request.raw_path.partition("?")
        if raw.startswith("/__") and not raw.startswith(modes.PATH_PREFIX):
            self.ledger.controlled(request.protocol)
            return self._control(request.method, raw, query)
        record = _record(request, raw, query)
        self.ledger.begin(request.protocol, record)
        state: State = "failed"
        try:
            whole = await self._respond(request, record)
            state = "faulted" if whole is None else "complete"
            return Sent(keep_alive=bool(whole))
        except asyncio.CancelledError:
            state = "aborted"
            raise
        except (ConnectionError, RequestPayloadError):
            state = "aborted"
            return Sent(keep_alive=False)
        finally:
            self.ledger.end(request.protocol, record, state)

    async def _respond(self, request: web.BaseRequest, record: Record) -> bool | None:
        """Reads, answers and sends; the result is that of `Wire.send`."""
        pairs = record.headers
        headers = {name.lower(): value for name, value in reversed(pairs)}
        route = _route(record.method, record.route, headers)
        mode = Mode()
        answer: Answer
        body, form = (b"", None) if _is_early(record, headers) else await self._read(request, record, headers)
        try:
            incoming = self._incoming(record, headers, body, form, route)
            mode = incoming.mode
            answer = _answer(incoming, route)
        except Refusal as refusal:
            answer = Whole(route.family.render(refusal, record.sha256), status=refusal.status)
        record.status = answer.status if isinstance(answer, Whole) else 200
        wire = Wire(request, mode, self.ledger, record)
        return await wire.send(answer, route.family.headers(record.sha256))

    async def _read(
        self, request: web.BaseRequest, record: Record, headers: Mapping[str, str]
    ) -> tuple[bytes, Form | None]:
        """The body (at most 64 MiB of it) and, of a multipart body, its parts."""
        if headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
        mark = boundary(headers.get("content-type", ""))
        form = Form(mark) if mark else None
        kept, size, digest = bytearray(), 0, hashlib.sha256()
        limit = KEPT_BODY if form else _MAX_JSON
        async for data in request.content.iter_any():
            size += len(data)
            digest.update(data)
            kept += data[: limit - len(kept)]
            if form:
                form.feed(data)
        body = bytes(kept)
        self.ledger.received(record, body[:KEPT_BODY], size, digest.hexdigest())
        return body, form

    def _incoming(
        self, record: Record, headers: Mapping[str, str], body: bytes, form: Form | None, route: Route
    ) -> Incoming:
        """The request as the dialects see it, with its mode. Raises Refusal."""
        decoded = _decode(body, record.size) if route.json and not _is_early(record, headers) else {}
        by_model = ""
        named = _in_the_clouds(record.route)
        if named is not None and named[1] and "model" not in decoded:
            decoded["model"] = named[1]
        at = gemini.place(record.route)
        if at is not None and route.answer in gemini.VERBS.values():
            # Google has the model in the path.
            decoded["model"] = at.model
        if isinstance(decoded.get("model"), str):
            by_model, decoded["model"] = modes.split_model(decoded["model"])
            record.model = decoded["model"]
        elif form:
            record.model = form.field("model")
        by_path, by_header = _outer_modes(record, headers)
        texts = [text for text in (by_path, by_model, by_header) if text]
        record.mode = ",".join(texts)
        try:
            mode = modes.parse(*texts)
        except ValueError as exc:
            raise Refusal(400, str(exc)) from None
        if mode.fail_first:
            mode = mode.failing() if self.ledger.failing(mode.key, mode.fail_first) else mode.healthy()
        return Incoming(
            method=record.method,
            path=record.route,
            query=record.query,
            pairs=record.headers,
            headers=headers,
            mode=mode,
            size=record.size,
            sha256=record.sha256,
            json=decoded,
            form=form,
        )

    def _control(self, method: str, path: str, query: str) -> web.StreamResponse:
        if (method, path) == ("POST", "/__reset"):
            self.ledger.reset()
            shown: Any = {"reset": True}
        elif (method, path) == ("GET", "/__stats"):
            shown = self.ledger.stats()
        elif (method, path) == ("GET", "/__requests"):
            last = parse_qs(query).get("last", ["20"])[0]
            shown = [record.view() for record in self.ledger.last(int(last) if last.isdigit() else 0)]
        else:
            page = {"error": f"no page {method} {path}; there are GET /__stats, GET /__requests?last=N, POST /__reset"}
            return web.Response(body=encode(page), status=HTTPStatus.NOT_FOUND, content_type="application/json")
        return web.Response(body=encode(shown), content_type="application/json")


class _Server(web.Server):
    """aiohttp's low-level server, telling the ledger of connections."""

    def __init__(self, handler: Callable[[web.BaseRequest], Any], ledger: Ledger) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_line_size=_MAX_HEAD,
            max_field_size=_MAX_HEAD,
        )
        self._ledger = ledger

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        # "Sent" shall mean handed to the kernel, so that an answer counts as complete only when it is.
        transport.set_write_buffer_limits(0)
        self._ledger.connected(handler)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._ledger.disconnected(handler)


def _record(request: web.BaseRequest, path: str, query: str) -> Record:
    headers: Pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
    return Record(
        number=0,
        connection=0,
        method=request.method,
        path=path,
        route=modes.split_path(path)[1],
        query=query,
        headers=headers,
        credential=request.headers.get("x-api-key")
        or request.headers.get("x-goog-api-key")
        or request.headers.get("authorization", "").removeprefix("Bearer "),
        accepted_at=time.time(),
    )


def _route(method: str, path: str, headers: Mapping[str, str]) -> Route:
    route = _ROUTES.get((method, path))
    if route is None and method == "POST" and (cloud := _in_the_clouds(path)) is not None:
        return cloud[0]
    if route is None:
        at = gemini.place(path) if method == "POST" else None
        if at is not None and at.verb in gemini.VERBS:
            family = anthropic.FAMILY._replace(authenticate=gemini.authenticate)
            return Route(family if at.publisher == "anthropic" else gemini.FAMILY, gemini.VERBS[at.verb])
        route = _MODEL if method == "GET" and path.startswith("/v1/models/") else _ECHO
    return _ANTHROPIC_TWINS.get(route.answer, route) if "anthropic-version" in headers else route


def _in_the_clouds(path: str) -> tuple[Route, str] | None:
    """Who answers a path that has a model or a deployment in it, and which."""
    return bedrock.place(path) or azure.place(path) or gemini.endpoint(path)


def _outer_modes(record: Record, headers: Mapping[str, str]) -> tuple[str, str]:
    """The mode texts of path and header, which are known before the body."""
    return modes.split_path(record.path)[0], headers.get(modes.HEADER, "")


def _is_early(record: Record, headers: Mapping[str, str]) -> bool:
    texts = _outer_modes(record, headers)
    try:
        return any(texts) and modes.parse(*texts).early
    except ValueError:
        return False  # It is told of when the whole mode is read.


def _decode(body: bytes, size: int) -> dict[str, Any]:
    if size > _MAX_JSON:
        raise Refusal(413, f"The request has {size} bytes; {_MAX_JSON} are allowed.")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE as exc:
        raise Refusal(400, f"We could not parse the JSON body of your request: {exc}") from None


def _answer(incoming: Incoming, route: Route) -> Answer:
    """What the mode makes of the provider's answer. Raises Refusal."""
    mode = incoming.mode
    if mode.redirect:
        return Whole(b"", status=307, headers=(("location", mode.redirect),))
    if mode.status and mode.status >= 400:
        refusal = route.family.refusal(mode.status)
        return Whole(route.family.render(refusal, incoming.sha256), mode.status, headers=_retry_headers(mode))
    if not incoming.path.startswith(("/v1/", "/v1beta")) and not route.outside:
        raise Refusal(404, f"Invalid URL ({incoming.method} {incoming.path})")
    route.family.authenticate(incoming.headers)
    try:
        answer = route.answer(incoming)
    except (TypeError, AttributeError, LookupError) as exc:
        # The mock looks at few fields and trusts their types; a provider would say which one is wrong.
        raise Refusal(400, f"A field of the request has the wrong type: {exc}") from None
    if mode.junk or mode.wrong:
        body = _JUNK if mode.junk else encode(_WRONG)
        if isinstance(answer, Stream):
            return Stream([b"data: " + body + b"\n\n"], answer.error)
        return Whole(body)
    if mode.status and isinstance(answer, Whole):
        return msgspec.structs.replace(answer, status=mode.status)
    return answer


def _retry_headers(mode: Mode) -> Pairs:
    fields = (("retry-after", mode.retry_after), ("retry-after-ms", mode.retry_after_ms))
    return tuple((name, str(value)) for name, value in fields if value is not None)
