"""One gateway for the hostile: small limits, short timeouts, and a provider that tells what reached it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.fakes.gateway import Gateway, Upstream
from tests.security.setup import guarded


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, as in a worker."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="package")
def guard_upstream() -> Iterator[Upstream]:
    running = Upstream()
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="package")
def guard_process(guard_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("guard"), guarded(guard_upstream.url)) as running:
        yield running


@pytest.fixture
def behind(guard_upstream: Upstream) -> Upstream:
    """The provider behind `guard`, forgetful before each test."""
    guard_upstream.reset()
    return guard_upstream


@pytest.fixture
def guard(guard_process: Gateway, behind: Upstream) -> Gateway:
    """A gateway that has printed nothing of interest yet."""
    return guard_process
