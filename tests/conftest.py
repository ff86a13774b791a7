"""Fixtures for every test, and the order in which test files run."""

import functools
import gc
from collections.abc import Generator, Iterator
from pathlib import Path

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects tests without the garbage collector, which would take as long as the rest of it, and keeps them where it
    does not look at them again and again while they run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


_HERE = Path(__file__).parent
_FIRST = ("chaos", "deploy", "behaviour", "e2e", "security", "matrix", "test_docs.py", "test_floors.py", "proxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what waits more than it computes and takes longest, and last what takes a moment, so that no process
    is alone with a long file at the end, while the others have nothing left to do."""

    def place(item: pytest.Item) -> int:
        first = item.path.relative_to(_HERE).parts[0]
        return _FIRST.index(first) if first in _FIRST else len(_FIRST)

    items.sort(key=place)


_waited: list[str] = []
install(_waited.append)


@pytest.fixture(autouse=True)
def watched() -> Iterator[list[str]]:
    """In no test does the gateway's code make a call that holds up an event loop; in programs, see `Gateway.stop`."""
    yield _waited
    seen, _waited[:] = list(_waited), []
    assert not seen
