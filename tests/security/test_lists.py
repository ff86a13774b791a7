"""What an operator has set stands, whatever a client writes beside it: lists of models, headers of a virtual key."""

from __future__ import annotations

import json

import pytest

from tests.behaviour.rig import CHAT, Rig, api_key, virtual_key
from tests.fakes.upstream import Scripted, ok

MESSAGES = json.dumps(CHAT["messages"])


def _body(*fields: str) -> bytes:
    return f'{{{", ".join((*fields, f""""messages": {MESSAGES}"""))}}}'.encode()


ALLOWED, OTHER = '"model": "gpt-4o"', '"gpt-5"'
TWICE = {
    "before": _body(f'"model": {OTHER}', ALLOWED),
    "behind": _body(ALLOWED, f'"model": {OTHER}'),
    "escaped": _body(ALLOWED, f'"\\u006dodel": {OTHER}'),
    "in capitals": _body(ALLOWED, f'"Model": {OTHER}'),
    "in capitals, before": _body(f'"MODEL": {OTHER}', ALLOWED),
    "escaped capitals": _body(ALLOWED, f'"\\u004dodel": {OTHER}'),
}


@pytest.mark.parametrize("limited", ["API key", "virtual key"])
@pytest.mark.parametrize("how", TWICE)
async def test_a_second_model_gets_around_no_list(how: str, limited: str) -> None:
    only = {"models": ("gpt-4o",)}
    keys = (api_key("limited", "lw-limited", **(only if limited == "API key" else {})),)
    headers = {"x_portkey_api_key": "lw-limited"}
    inner = _body(ALLOWED, f'"metadata": {{"model": {OTHER}}}', f'"stop": "\\"model\\": {OTHER[1:-1]}"')
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        rows = (virtual_key("openai", upstream.url, **(only if limited == "virtual key" else {})),)
        async with Rig(keys=keys, virtual_keys=rows) as rig:
            for body in (_body(ALLOWED), inner):
                assert (await rig.post("/v1/chat/completions", body, **headers)).status == 200
            assert (await rig.post("/v1/chat/completions", TWICE[how], **headers)).status in (400, 412)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("name", ["x-tenant", " X-Tenant", "OpenAI-Organization", "x_tenant"])
async def test_a_forwarded_header_never_stands_beside_one_that_the_operator_stored(name: str) -> None:
    stored = {"X-Tenant": "ours", "openai-organization": "ours"}
    async with (
        Scripted(play=lambda asked: [ok(b"{}")]) as upstream,
        Rig(virtual_keys=(virtual_key("openai", upstream.url, custom_headers=stored),)) as rig,
    ):
        theirs = {
            "x_portkey_forward_headers": f"{name}, x-other",
            name.strip(): "theirs",
            "x_other": "passes",
            "x_portkey_api_key": "lw-test",
        }
        assert (await rig.post("/v1/chat/completions", CHAT, **theirs)).status == 200
        lines = upstream.requests[0].head.lower().split(b"\r\n")
        assert [line for line in lines if b"tenant" in line or b"organization" in line] == [
            b"x-tenant: ours",
            b"openai-organization: ours",
        ]
        assert b"x-other: passes" in lines


IN_PATHS = {
    "/v1/projects/p/locations/l/publishers/anthropic/models/{}:rawPredict": "claude-sonnet-4-6",
    "/v1/projects/q/locations/m/publishers/google/models/{}:generateContent": "gemini-3",
    "/v1beta1/projects/p/locations/l/publishers/google/models/{}:streamGenerateContent": "gemini-3",
    "/v1/projects/p/locations/l/publishers/google/mode%6cs/{}:generateContent": "gemini-3",
    "/v1beta1/Projects/p/locations/l/endpoints/{}/chat/completions": "123",
}


@pytest.mark.parametrize("path", IN_PATHS)
async def test_a_model_in_vertex_ais_own_paths_gets_around_no_list(path: str) -> None:
    fields = {"vertex_project_id": "p", "vertex_region": "l"}
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        rows = (virtual_key("vertex", upstream.url, provider="vertex-ai", models=(IN_PATHS[path],), fields=fields),)
        async with Rig(virtual_keys=rows) as rig:
            headers = {"x_portkey_api_key": "lw-test"}
            body = _body(f'"model": "{IN_PATHS[path]}"')
            assert (await rig.post(path.format("another"), body, **headers)).status == 412
            assert (await rig.post(path.format(IN_PATHS[path]), _body('"stream": false'), **headers)).status == 200
        assert len(upstream.requests) == 1
