"""The catalogue of models: when providers are asked for theirs, and what counts while they do not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapters.errors import Kind
from adapters.providers import PROVIDERS
from proxy import models
from proxy.config.access import Access
from proxy.config.target import Target
from proxy.errors import UpstreamFailure
from proxy.models import Catalog
from proxy.seams import Timeouts

TIMES = Timeouts(1.0, 1.0, 1.0)


class Listing:
    """A provider's answer to a request for its models."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    async def gather(self, limit: int) -> bytes:
        return self._body

    def finish(self) -> None:
        pass


class Provider:
    """A transport that gives out prepared answers, and counts."""

    def __init__(self, *answers: Listing | UpstreamFailure) -> None:
        self._answers = iter(answers)
        self.asked = 0

    async def send(self, *_: Any) -> Any:
        self.asked += 1
        answer = next(self._answers)
        if isinstance(answer, UpstreamFailure):
            raise answer
        return answer


DOWN = UpstreamFailure(Kind.UNREACHABLE, "nobody there", sent=False)
LIST = Listing(200, b'{"data": [{"id": "a"}, {"id": "b"}]}')


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(models, "monotonic", lambda: found.now)
    return found


def catalog(*answers: Listing | UpstreamFailure) -> tuple[Catalog, Provider]:
    provider = Provider(*answers)
    return Catalog(provider, TIMES), provider  # type: ignore[arg-type]


async def test_a_list_is_asked_for_once_in_five_minutes(clock: SimpleNamespace) -> None:
    known, provider = catalog(LIST, LIST)
    target = Target(Access(PROVIDERS["openai"], "sk"))
    assert [await known.of(target) for _ in range(3)] == [["a", "b"]] * 3
    assert provider.asked == 1
    clock.now += 301
    await known.of(target)
    assert provider.asked == 2


@pytest.mark.parametrize("failure", [DOWN, Listing(503, b"{}"), Listing(200, b"no JSON")])
async def test_a_provider_that_fails_is_left_alone_for_a_while_and_its_last_list_counts(
    failure: Listing | UpstreamFailure, clock: SimpleNamespace
) -> None:
    known, provider = catalog(failure, LIST, failure)
    target = Target(Access(PROVIDERS["openai"], "sk"))
    assert [await known.of(target) for _ in range(3)] == [[]] * 3
    assert provider.asked == 1
    clock.now += 16
    assert await known.of(target) == ["a", "b"]
    clock.now += 301
    assert [await known.of(target) for _ in range(3)] == [["a", "b"]] * 3
    assert provider.asked == 3
