"""What belongs to one API key is out of reach for another's."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.behaviour.rig import CHAT, Rig, api_key
from tests.fakes.gateway import OPENAI_SLUG, SEED_KEY, Gateway
from tests.fakes.upstream import Scripted, ok
from tests.security.setup import only, without

STRANGER, READER = only("feedbacks.write"), without("metrics.read")
"""A tenant who may give feedback, and somebody who may read the whole log and give feedback."""


def _feedback(gateway: Gateway, key: str, trace: str, value: int) -> str:
    given = gateway.post("/v1/feedback", {"trace_id": trace, "value": value}, key=key)
    assert given.status_code == 200, given.text
    return str(given.json()["feedback_ids"][0])


def _logged(gateway: Gateway, trace: str) -> dict[str, Any]:
    """The request of a trace, as whoever may reads it."""

    def row() -> Any:
        return gateway.get("/v1/logs", key=READER, params={"trace_id": trace}).json()["data"]

    (found,) = gateway.until(row, "the log has it", 10)
    return dict(gateway.get(f"/v1/logs/{found['id']}", key=READER).json()["data"])


def test_feedback_on_a_trace_of_the_same_name_never_reaches_another_tenants_request(guard: Gateway) -> None:
    # Before the trace is there, and after.
    early = _feedback(guard, STRANGER, "shared-name", -10)
    asked = {"model": f"@{OPENAI_SLUG}/gpt-4o", "messages": CHAT["messages"]}
    headers = {"x-portkey-api-key": SEED_KEY, "x-portkey-trace-id": "shared-name"}
    assert guard.post("/v1/chat/completions", asked, headers=headers).status_code == 200
    own = _feedback(guard, SEED_KEY, "shared-name", 5)
    _feedback(guard, STRANGER, "shared-name", -9)
    _feedback(guard, READER, "shared-name", 7)
    assert [each["value"] for each in _logged(guard, "shared-name")["feedback"]] == [5, 7]
    # Nor does it tell the stranger whether there is such a trace, or change what others gave, or read anything.
    _feedback(guard, STRANGER, "no-such-trace", 1)
    for id in (own, "fb-000000000000000000000000"):
        assert guard.request("PUT", f"/v1/feedback/{id}", {"value": 0}, key=STRANGER).status_code == 404
    assert guard.request("PUT", f"/v1/feedback/{early}", {"value": 1}, key=STRANGER).status_code == 200
    assert guard.get(f"/v1/logs/{own}", key=STRANGER).status_code == 403
    assert [each["value"] for each in _logged(guard, "shared-name")["feedback"]] == [5, 7]


OWN = {"provider": "openai", "api_key": "sk-of-the-client"}
INLINE = {
    "one target": OWN,
    "a fallback": {"strategy": {"mode": "fallback"}, "targets": [OWN]},
    "nested": {"strategy": {"mode": "loadbalance"}, "targets": [{"targets": [OWN]}]},
    "with a cache": {**OWN, "cache": {"mode": "simple"}},
}


@pytest.mark.parametrize("how", INLINE)
async def test_a_key_with_a_list_of_virtual_keys_brings_no_credential_of_its_own(how: str) -> None:
    async with (
        Scripted(play=lambda asked: [ok(b"{}")]) as upstream,
        Rig(openai=upstream.url, keys=(api_key("listed", "lw-listed", virtual_keys=("openai",)),)) as rig,
    ):
        headers = {"x_portkey_config": json.dumps(INLINE[how])}
        answer = await rig.post("/v1/chat/completions", CHAT, x_portkey_api_key="lw-listed", **headers)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "virtual_key_not_allowed")
        assert not upstream.requests
        used = await rig.post("/v1/chat/completions", CHAT, x_portkey_api_key="lw-listed")
        assert used.status == 200


async def test_a_credential_in_a_saved_config_is_for_keys_without_a_list_or_with_that_default() -> None:
    listed = {"virtual_keys": ("openai",)}
    keys = (
        api_key("free", "lw-free"),
        api_key("listed", "lw-listed", **listed),
        api_key("bound", "lw-bound", config="pc-embedded", **listed),
    )
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        embedded = {"provider": "openai", "api_key": "sk-of-the-operator", "custom_host": f"{upstream.url}/v1"}
        first = {"strategy": {"mode": "fallback"}, "targets": [embedded, {"virtual_key": "openai"}]}
        configs = {"pc-embedded": embedded, "pc-other": embedded, "pc-first": first}
        async with Rig(openai=upstream.url, keys=keys, configs=configs) as rig:

            async def status(key: str, config: str | None) -> int:
                headers = {} if config is None else {"x_portkey_config": config}
                return (await rig.post("/v1/chat/completions", CHAT, x_portkey_api_key=key, **headers)).status

            assert await status("lw-free", "pc-other") == 200
            assert await status("lw-bound", None) == await status("lw-bound", "pc-embedded") == 200
            assert len(upstream.requests) == 3
            assert await status("lw-listed", "pc-embedded") == await status("lw-bound", "pc-other") == 403
            assert len(upstream.requests) == 3
            # A fallback passes by what the key may not use.
            assert await status("lw-listed", "pc-first") == 200
            assert b"sk-openai" in upstream.requests[-1].head


def test_each_request_on_a_connection_shows_who_it_is_from(guard: Gateway) -> None:
    host = guard.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)

    def status(key: str | None) -> int:
        fields = {} if key is None else {"x-portkey-api-key": key}
        connection.request("GET", "/v1/logs", headers=fields)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    connection.connect()
    used = connection.sock
    assert [status(key) for key in (READER, STRANGER, READER, "lw-nobody", READER, None, "x" * 300, READER)] == [
        200, 403, 200, 401, 200, 401, 401, 200,
    ]  # fmt: skip
    assert connection.sock is used, "one connection for them all"
    connection.close()
