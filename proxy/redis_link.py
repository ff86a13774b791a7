"""The link to Redis that limits, cache and change notices share: short waits, and no waiting at all while it is away.

A command gets at most `timeout` seconds. After a few that failed in a row the link is *down*: every call raises
`RedisDown` at once, and a task of its own knocks until Redis answers again, so that no request pays for finding out.

A connection carries one command at a time, or one pipeline. Whatever ends a command early (cancellation, timeout, a
broken answer) closes its connection: an answer that comes late must never be taken for that to the next command
(CVE-2023-28858). redis-py's connections do the bytes; its client and pool are left out, as they promise less.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError

from proxy.errors import LoopwayError, StartupError

Argument: TypeAlias = bytes | str | int | float
Command: TypeAlias = Sequence[Argument]

_TIMEOUT = 0.025
_FAILURES = 3  # in a row, until the link counts as down
_KNOCK_EVERY = 0.25
_CONNECT_TIMEOUT = 1.0  # for those who knock and listen; a request's command never waits for that long
_IDLE = 8  # connections kept
_log = logging.getLogger("loopway")


class RedisDown(LoopwayError):
    """Redis does not answer, or not in time. What was asked may have happened all the same."""


def check_url(url: str, what: str) -> dict[str, Any]:
    """The options that a Redis URL comes to. Raises StartupError, which calls it `what` and does not repeat it."""
    try:
        return dict(parse_url(url))
    except (ValueError, TypeError):
        raise StartupError(f"{what} cannot be used; it looks like redis://HOST:6379/0") from None


class Script:
    """A Lua script, known to Redis by its SHA-1."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """One worker's way to one Redis. Made on the loop that it serves; `start` begins, `close` ends it.

    `up` says whether calls are tried, `failed` counts commands that failed, `downs` how often the link went down.
    """

    def __init__(self, url: str, *, timeout: float = _TIMEOUT) -> None:
        """Raises StartupError for a URL that cannot be used; no message shows its password."""
        self.name = _shown(url)
        options = check_url(url, "the Redis URL")
        self._kind: Callable[..., Connection] = options.pop("connection_class", Connection)
        self._options = {
            **options,
            "socket_connect_timeout": _CONNECT_TIMEOUT,
            "socket_timeout": None,  # times are kept here, around whole commands
            "health_check_interval": 0,
            "driver_info": None,
            "protocol": 2,
        }
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._in_a_row = 0
        self.up = True
        self.failed = 0
        self.downs = 0

    def __repr__(self) -> str:
        return f"RedisLink({self.name}, {'up' if self.up else 'down'})"

    # -- asking

    async def call(self, *command: Argument) -> Any:
        """One command and its answer. Raises RedisDown; `redis.exceptions.ResponseError` is a fault of ours."""
        (answer,) = await self.pipeline((command,))
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def script(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], timeout: float | None = None
    ) -> Any:
        """Runs a script; the same errors. `timeout` in seconds is for those whom no request waits for."""
        command = (len(keys), *keys, *arguments)
        (answer,) = await self.pipeline((("EVALSHA", script.sha, *command),), timeout)
        if isinstance(answer, NoScriptError):
            (answer,) = await self.pipeline((("EVAL", script.text, *command),), timeout)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def pipeline(self, commands: Sequence[Command], timeout: float | None = None) -> list[Any]:
        """Several commands in one round trip, and their answers, in order; one that Redis refused is an exception
        among them. Raises RedisDown."""
        if not self.up or self._closed:
            raise RedisDown(f"Redis at {self.name} does not answer")
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout or self._timeout):
                connection = self._idle.pop() if self._idle else await self._open_soon()
                answers = await _exchange(connection, commands)
        except (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._fail(error)
            raise RedisDown(f"Redis at {self.name} does not answer: {type(error).__name__}") from error
        else:
            self._in_a_row = 0
            whole, connection = connection, None
            self._keep(whole)
            return answers
        finally:
            if connection is not None:
                _drop(connection)

    def listen(self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None] | None = None) -> None:
        """Calls `heard` with every message of a channel from now on, for as long as the link lives. `missed` is called
        whenever listening begins, also anew: what was said before was not heard."""
        self._spawn(self._listen(channel, heard, missed))

    async def close(self) -> None:
        """Ends everything."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            _drop(self._idle.pop())

    # -- connections

    def _new(self) -> Connection:
        return self._kind(**self._options)

    async def _open_soon(self) -> Connection:
        """A new connection. Whoever waits may give up: it is finished all the same, for the next one."""
        made: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

        async def connect() -> None:
            connection = self._new()
            try:
                await _connect(connection)
            except BaseException as error:
                _drop(connection)
                if not made.done():
                    made.set_exception(error)
                if not isinstance(error, RedisError | OSError | TimeoutError):
                    raise
            else:
                if made.done():
                    self._keep(connection)
                else:
                    made.set_result(connection)

        self._spawn(connect())
        try:
            return await made
        except asyncio.CancelledError:
            if made.done() and not made.cancelled() and made.exception() is None:
                self._keep(made.result())
            raise

    def _keep(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= _IDLE:
            _drop(connection)
        else:
            self._idle.append(connection)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- failing and coming back

    def _fail(self, error: BaseException) -> None:
        self.failed += 1
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES and self.up:
            self.up = False
            self.downs += 1
            _log.error("Redis at %s does not answer (%s); going on without it", self.name, type(error).__name__)
            while self._idle:
                _drop(self._idle.pop())
            self._spawn(self._knock())

    async def _knock(self) -> None:
        while not self.up:
            await asyncio.sleep(_KNOCK_EVERY)
            connection = self._new()
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    await _connect(connection)
                    await _exchange(connection, (("PING",),))
            except (RedisError, OSError, TimeoutError):
                _drop(connection)
            except BaseException:
                _drop(connection)
                raise
            else:
                self._keep(connection)
                self._in_a_row = 0
                self.up = True
                _log.warning("Redis at %s answers again", self.name)

    async def _listen(self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None] | None) -> None:
        while True:
            connection = self._new()
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    await _connect(connection)
                    await _exchange(connection, (("SUBSCRIBE", channel),))
                if missed is not None:
                    missed()
                while True:
                    message = await connection.read_response(timeout=None, push_request=True)
                    if isinstance(message, list) and message[:1] == [b"message"]:
                        heard(message[2])
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_KNOCK_EVERY)
            finally:
                _drop(connection)


async def _connect(connection: Connection) -> None:
    await connection.connect()  # type: ignore[no-untyped-call]


async def _exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """Sends commands and reads one answer for each."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            answers.append(error)
    return answers


def _drop(connection: Connection) -> None:
    """Closes a connection without waiting for anything."""
    writer = getattr(connection, "_writer", None)
    connection._reader = None
    connection._writer = None
    if writer is not None:
        with contextlib.suppress(RuntimeError, OSError):
            writer.transport.abort()


def _shown(url: str) -> str:
    """Host and port: what may be told of the URL."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or parts.path or '?'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "?"
