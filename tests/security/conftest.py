"""One gateway for the hostile: small limits, short timeouts, and a provider that tells what reached it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.gateway import Gateway, Upstream, standard

MAX_BODY = 64 * 1024


def guarded(url: str, **server: Any) -> dict[str, Any]:
    """The standard configuration with limits that tests can reach."""
    limits = {"max_body_size": MAX_BODY, "header_timeout": "5s", "body_timeout": "5s", "keepalive_timeout": "5s"}
    return standard(url) | {"server": limits | server}


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
