"""The mock provider inside the test's own loop, on a free port.

    async with Provider() as p:
        client = openai.AsyncOpenAI(base_url=f"{p.url}/v1", api_key="sk-test")
        ...
        assert p.last.header("authorization") == "Bearer sk-test"

The `provider` fixture is the same: import it into a test module or a conftest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import anthropic
import openai
import pytest

from proxy.mock import Mock, Record

BEARER = {"authorization": "Bearer sk-test"}
ANTHROPIC = {"x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01"}
HELLO = [{"role": "user", "content": "Hello there"}]
CHAT = {"model": "gpt-4o", "messages": HELLO}


def steered(model: str, **mode: object) -> str:
    """The model name with a mode suffix: `steered("gpt-4o", chunks=5)` is `gpt-4o::chunks=5`."""
    return f"{model}::{mode_text(**mode)}"


def mode_text(**mode: object) -> str:
    """A mode as the comma list that the `x-mock-mode` header takes."""
    return ",".join(f"{name}={value}" for name, value in mode.items())


class Provider:
    """A mock provider of its own for one test."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._mock = Mock()
        self._host = host
        self._port = port

    async def __aenter__(self) -> Self:
        await self._mock.start(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._mock.close()

    @property
    def url(self) -> str:
        """The address without a path."""
        return self._mock.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._mock.port

    @property
    def stats(self) -> dict[str, Any]:
        """The counters, as `GET /__stats` shows them."""
        return self._mock.ledger.stats()

    @property
    def last(self) -> Record:
        """The latest request."""
        return self.requests()[-1]

    def at(self, **mode: object) -> str:
        """A base address under which every request has this mode (append `/v1/…`)."""
        return f"{self.url}/__mode/{quote(mode_text(**mode), safe='=,')}"

    def openai(self) -> openai.AsyncOpenAI:
        """OpenAI's SDK, talking to the mock without retries."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="sk-test", max_retries=0)

    def anthropic(self) -> anthropic.AsyncAnthropic:
        """Anthropic's SDK, talking to the mock without retries."""
        return anthropic.AsyncAnthropic(base_url=self.url, api_key="sk-ant-test", max_retries=0)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """A JSON POST; gives status and decoded answer."""
        url = self.url + path
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    def requests(self, last: int = 1000) -> list[Record]:
        """The last requests, oldest first."""
        return self._mock.ledger.last(last)

    def reset(self) -> None:
        """Forgets what happened so far."""
        self._mock.ledger.reset()

    async def until(self, condition: Callable[[dict[str, Any]], bool], timeout: float = 30) -> dict[str, Any]:
        """Waits until the counters satisfy `condition` and gives them. Raises TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not condition(stats := self.stats):
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise TimeoutError(f"the provider never came to the expected state: {self.stats}") from None
        return stats


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A running mock provider."""
    async with Provider() as running:
        yield running
