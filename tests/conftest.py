"""Fixtures for every test, and the order in which test files run."""

import functools
from collections.abc import Iterator

import httpx._transports.default as httpx_transports
import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.gateway import gateway, launch, session_gateway, session_upstream, upstream
from tests.fakes.postgres import postgres, postgres_url
from tests.fakes.watched.sitecustomize import install

__all__ = ["gateway", "launch", "postgres", "postgres_url", "session_gateway", "session_upstream", "upstream"]

# How long an example takes says what else the machine is doing, and nothing about the code.
settings.register_profile("loopway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loopway")

# Every client would read the certificates of all authorities anew, 15 ms of processor time, to speak plain HTTP.
httpx_transports.create_ssl_context = functools.cache(httpx_transports.create_ssl_context)  # type: ignore[attr-defined]

_FIRST = ("chaos", "deploy", "behaviour", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what waits more than it computes and takes longest, so that no process does that alone at the end,
    while the others have nothing left to do."""

    def place(item: pytest.Item) -> int:
        folder = item.nodeid.split("/")[1]
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=place)


_waited: list[str] = []
install(_waited.append)


@pytest.fixture(autouse=True)
def watched() -> Iterator[list[str]]:
    """In no test does the gateway's code make a call that holds up an event loop; in programs, see `Gateway.stop`."""
    yield _waited
    seen, _waited[:] = list(_waited), []
    assert not seen
