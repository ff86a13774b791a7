"""Bytes from providers are hostile too: none reaches a request it does not belong to."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.behaviour.client import Answer, connect
from tests.behaviour.rig import Rig
from tests.fakes.upstream import Asked, Script, Scripted
from tests.security.answers import HOSTILE, Fate, body_for, good

ROUTES: dict[str, tuple[str, str]] = {
    "verbatim": ("/v1/chat/completions", "openai"),
    "translated": ("/v1/chat/completions", "anthropic"),
    "passed through": ("/v1/files", "openai"),
}


MARK = re.compile(rb"mark-[a-z]+")


class Provider:
    """Answers as the `model` of a request says; the content is the mark that the request bears."""

    def __init__(self) -> None:
        self.late = asyncio.Event()

    def play(self, asked: Asked) -> Script:
        found = MARK.search(asked.body)
        assert found is not None
        body = body_for(found[0].decode())
        hostile = HOSTILE.get(asked.json()["model"])
        if hostile is None:
            return good(body)
        return [*hostile.script(body), *([self.late, hostile.late] if hostile.late else [])]


async def ask(rig: Rig, route: str, model: str, mark: str) -> Answer | None:
    """The answer on a connection of its own, or None where that ended without one."""
    path, slug = ROUTES[route]
    body = {"model": model, "messages": [{"role": "user", "content": mark}], "max_tokens": 5}
    line = await connect(rig.port)
    line.send(rig.raw(path, body, vk=slug))
    await line.until(lambda: b"\r\n\r\n" in line.data or line.over)
    answer = None if line.over and not line.data else await line.answer()
    line.leave()
    return answer


def assert_own(answer: Answer | None, mark: str) -> None:
    """The answer is this request's, whole, and holds nothing of another."""
    assert answer is not None
    assert answer.status in (200, 205)
    assert answer.whole
    assert MARK.findall(answer.body)[0] == mark.encode()
    assert b"POISON" not in answer.body
    assert "POISON" not in str(answer.headers)
    assert answer.headers["content-type"] == "application/json"
    assert "retry-after" not in answer.headers


def assert_fate(fate: Fate, answer: Answer | None, mark: str, *, verbatim: bool) -> None:
    if answer is not None:
        assert b"POISON" not in answer.body
        assert "POISON" not in str(answer.headers)
    if answer is not None and answer.status >= 500:
        assert fate in (Fate.FAILED, Fate.CUT, Fate.TURNED), answer
        assert answer.status in (502, 504), answer
        assert answer.whole
        assert answer.json()["error"]["message"].startswith("The ")
    elif answer is None or not answer.whole:
        assert fate is Fate.CUT
    else:
        assert fate not in (Fate.FAILED, Fate.TURNED), answer
        assert answer.status in (200, 204, 205)
        if fate is not Fate.CUT:
            assert_own(answer, mark)
        if verbatim:
            assert body_for(mark).startswith(answer.body)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_of_a_hostile_answer_reaches_the_next_request(name: str, route: str) -> None:
    hostile, provider = HOSTILE[name], Provider()
    timeouts = {"first_byte_timeout": 0.2, "idle_timeout": 0.2}
    async with (
        Scripted(play=provider.play) as upstream,
        Rig(openai=upstream.url, anthropic=upstream.url, timeouts=timeouts) as rig,
    ):
        assert_own(await ask(rig, route, "good", "mark-before"), "mark-before")
        answer = await ask(rig, route, name, "mark-hostile")
        spoiled = upstream.connections[upstream.requests[-1].connection]
        if hostile.late:
            provider.late.set()
            await upstream.until(lambda _: spoiled.transport is None)
        verbatim = route != "translated"
        assert_fate(hostile.fate, answer, "mark-hostile", verbatim=verbatim)
        for mark in ("mark-after", "mark-later"):
            # What streams up goes on a connection of its own, always; what is held whole would use an idle one.
            assert_own(await ask(rig, "verbatim" if verbatim else route, "good", mark), mark)
            kept = upstream.requests[-1].connection == spoiled.number
            assert kept == (hostile.fate in (Fate.KEPT, Fate.TURNED))
        await rig.until(lambda: rig.quiet)
