"""One gateway for the hostile: small limits, short timeouts, and a provider that tells what reached it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.gateway import Gateway, Upstream
from tests.security.setup import guarded


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
