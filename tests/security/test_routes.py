"""Every row of the route table: who may call it, and what it makes of bodies that nobody should send."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.dialects import SERVED_BY
from proxy.routes import Route
from proxy.scopes import expand
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, OPENAI_SLUG, SEED_KEY, Gateway, Upstream
from tests.fakes.raw import Answer, Wire, request
from tests.security.setup import EXPIRED, MAX_BODY, ROUTES, SCOPES, guarded, only, without

JSON = {"Content_Type": "application/json"}
BOTH = "lw-both"
CLOSED = [route for route in ROUTES if route.scope is not None and not route.open_metrics]
OPEN = [route for route in ROUTES if route not in CLOSED]
SPOKEN = [route for route in ROUTES if route.body == "json" and route.dialect is not None]
ADMINISTERED = [route for route in ROUTES if route.body == "json" and route.dialect is None]
STREAMED = [route for route in ROUTES if route.body == "stream"]


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def key_for(route: Route) -> str:
    """A key that may use it."""
    return ADMIN_KEY if route.scope in expand(["admin"]) or route.scope in (None, "any") else only(str(route.scope))


def path_of(route: Route) -> str:
    return route.path.replace("{rest*}", "files/file-1").replace("{", "").replace("}", "")


def ask(gateway: Gateway, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own; every answer is checked for what all answers have in common."""
    with Wire(gateway.port) as wire:
        answer = wire.send(request(method, path, body, **headers)).answer(to_head=method == "HEAD")
    assert answer.header("x-portkey-trace-id")
    assert answer.header("server") is None
    assert b"Traceback" not in answer.body
    if answer.status >= 400 and method != "HEAD":
        assert answer.header("content-type") == "application/json"
    return answer


def call(gateway: Gateway, route: Route, body: bytes | None = None, **headers: str) -> Answer:
    return ask(gateway, route.method, path_of(route), body, **JSON, **headers)


def assert_speaks(answer: Answer, route: Route) -> None:
    """The error is in the dialect of the route."""
    error = answer.error
    assert error["message"]
    if route.dialect is not None and route.dialect.family == "anthropic":
        assert answer.json()["type"] == "error"
        assert {"type", "message"} <= set(error) <= {"type", "message", "code"}
    elif route.path.startswith("/v1beta") or (route.dialect is not None and route.dialect.family == "gemini"):
        assert {"code", "message", "status"} <= set(error) <= {"code", "message", "status", "details"}
        assert error["code"] == answer.status
    else:
        assert answer.json()["status"] == "failure"
        assert answer.json()["message"] == error["message"]
        assert set(error) == {"message", "type", "param", "code"}


def test_the_table_is_the_one_that_is_served(guard: Gateway) -> None:
    answer = ask(guard, "GET", "/openapi.json", x_portkey_api_key=ADMIN_KEY)
    served = {(method.upper(), path) for path, methods in answer.json()["paths"].items() for method in methods}
    assert served == {(route.method, route.path.replace("*}", "}")) for route in ROUTES}


# -- who may come in


@pytest.mark.parametrize("route", OPEN, ids=named)
def test_a_probe_needs_no_key(guard: Gateway, route: Route) -> None:
    assert call(guard, route).status == 200


@pytest.mark.parametrize("route", CLOSED, ids=named)
def test_without_a_key_nothing_else_answers(guard: Gateway, behind: Upstream, route: Route) -> None:
    body = b'{"model":"gpt-4o","messages":[]}' if route.body != "none" else None
    for headers in (
        {}, {"x_portkey_api_key": "wrong"}, {"Authorization": "Bearer wrong"}, {"x_api_key": "wrong"},
        {"Authorization": "Bearer "}, {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}, {"x_portkey_api_key": ""},
        {"x_portkey_api_key": EXPIRED}, {"x_portkey_api_key": "wrong", "Authorization": f"Bearer {BOTH}"},
        {"x_portkey_api_key": BOTH + "x"}, {"x_portkey_api_key": BOTH[:-1]}, {"Cookie": f"x-portkey-api-key={BOTH}"},
    ):  # fmt: skip
        answer = call(guard, route, body, x_portkey_virtual_key=OPENAI_SLUG, **headers)
        assert answer.status == 401, headers
        assert_speaks(answer, route)
        assert "wrong" not in answer.body.decode()
    assert not behind.requests()


@pytest.mark.parametrize("route", CLOSED, ids=named)
def test_a_key_in_the_query_is_no_key(guard: Gateway, route: Route) -> None:
    for name in ("key", "api_key", "x-portkey-api-key", "access_token"):
        assert ask(guard, route.method, f"{path_of(route)}?{name}={BOTH}").status == 401


@pytest.mark.parametrize("route", [route for route in CLOSED if route.scope in SCOPES], ids=named)
def test_a_key_that_may_do_everything_else_is_refused(guard: Gateway, behind: Upstream, route: Route) -> None:
    assert route.scope is not None
    answer = call(guard, route, b"{}", x_portkey_api_key=without(route.scope), x_portkey_virtual_key=OPENAI_SLUG)
    assert answer.status == 403
    assert_speaks(answer, route)
    assert route.scope in answer.error["message"]
    assert not behind.requests()


@pytest.mark.parametrize("route", [route for route in CLOSED if route.scope in SCOPES], ids=named)
def test_a_key_that_may_do_this_alone_comes_through(guard: Gateway, route: Route) -> None:
    assert route.scope is not None
    answer = call(guard, route, b"{}", x_portkey_api_key=only(route.scope), x_portkey_virtual_key=OPENAI_SLUG)
    assert answer.status not in (401, 403)
    assert answer.status < 500


def test_inference_and_administration_do_not_include_each_other(guard: Gateway) -> None:
    for route in CLOSED:
        key = (
            SEED_KEY
            if route.dialect is None and route.scope not in ("models.list", "feedbacks.write", "any")
            else ADMIN_KEY
        )
        # A question that is asked of anybody may still be no question.
        expected = {200, 400} if route.scope == "any" else {403}
        assert call(guard, route, b"{}", x_portkey_api_key=key).status in expected, named(route)


def test_the_counters_are_closed_where_others_can_reach_the_port(launch: Any, behind: Upstream, tmp_path: Path) -> None:
    gateway = launch(guarded(behind.url, host="0.0.0.0"))
    assert ask(gateway, "GET", "/metrics").status == 401
    assert ask(gateway, "GET", "/metrics", x_portkey_api_key=SEED_KEY).status == 403
    assert ask(gateway, "GET", "/metrics", x_portkey_api_key=ADMIN_KEY).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/v1", "/v2/x", "/admin", "/.env", "/v1/api-keys/a/b/c", "/v1/virtual-keys/a/b"])
def test_who_has_no_key_learns_nothing_about_paths(guard: Gateway, method: str, path: str) -> None:
    assert ask(guard, method, path).status == 401
    assert ask(guard, method, path, x_portkey_api_key=BOTH).status in (404, 405)


# -- bodies

VALID = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"max_tokens":5,"input":"x","prompt":"x"}'

MALFORMED: dict[str, bytes] = {
    "open": b"{", "text": b"hello", "list": b"[]", "number": b"1", "string": b'"x"', "true": b"true",
    "BOM": b"\xef\xbb\xbf" + VALID, "trailing text": VALID + b"x", "two": VALID + VALID, "comma": b'{"model":"a",}',
    "single quotes": b"{'model':'a'}", "no quotes": b"{model:1}", "comment": b'{/*x*/"model":"a"}',
    "cut": VALID[:-1], "cut in a string": VALID[:20], "NUL behind": VALID + b"\0", "NUL before": b"\0" + VALID,
    "control in a string": b'{"model":"a\x01b"}', "control in a value": b'{"model":"a","x":"a\nb"}',
    "NaN": b'{"model":"a","x":NaN}', "Infinity": b'{"model":"a","x":-Infinity}', "plus": b'{"model":"a","x":+1}',
    "leading zero": b'{"model":"a","x":01}', "hex": b'{"model":"a","x":0x1}', "point": b'{"model":"a","x":1.}',
    "bad escape": b'{"model":"a","x":"\\q"}', "short escape": b'{"model":"a","x":"\\u12"}', "colon": b'{"model" "a"}',
    "bad UTF-8 as the model": b'{"model":"\xff\xfe"}', "overlong UTF-8 as the model": b'{"model":"\xc0\xae"}',
    "a surrogate in UTF-8 as the model": b'{"model":"\xed\xa0\x80"}', "lone surrogate as the model":
    b'{"model":"\\ud800"}',
    "UTF-16": VALID.decode().encode("utf-16"), "UTF-32": VALID.decode().encode("utf-32"), "gzip": gzip.compress(VALID),
    "form": b"model=a&messages=b", "XML": b"<model>a</model>", "deep lists": b"[" * 30_000,
    "deep lists in a field": b'{"model":"a","x":' + b"[" * 15_000 + b"]" * 15_000 + b"}",
    "deep objects in a field": b'{"model":"a","x":' + b'{"a":' * 8_000 + b"1" + b"}" * 8_000 + b"}",
}  # fmt: skip
"""What is no JSON object, or one that no parser should be asked to read."""

WRONG: dict[str, bytes] = {
    "nothing": b"{}", "model a number": b'{"model":5}', "model a list": b'{"model":["a"]}', "model an object":
    b'{"model":{}}',
    "model true": b'{"model":true}', "model null": b'{"model":null}', "model empty": b'{"model":""}', "model blank":
    b'{"model":" "}',
    "model a slug alone": b'{"model":"@"}', "slug without model": b'{"model":"@a"}', "slug and slash":
    b'{"model":"@a/"}',
    "only slashes": b'{"model":"///"}', "stream a text": b'{"model":"a","stream":"yes"}', "stream a number":
    b'{"model":"a","stream":1}',
    "model very long": b'{"model":"' + b"a" * 60_000 + b'"}', "model with line ends": b'{"model":"a\\r\\nx: y"}',
    "model with NUL": b'{"model":"a\\u0000b"}', "model not ASCII": '{"model":"模型\u202e"}'.encode(),
    "messages a text": b'{"model":"a","messages":"x","max_tokens":1}', "messages null":
    b'{"model":"a","messages":null,"max_tokens":1}',
    "messages of numbers": b'{"model":"a","messages":[1],"max_tokens":1}', "messages of lists":
    b'{"model":"a","messages":[[]],"max_tokens":1}',
    "no role": b'{"model":"a","messages":[{"content":"x"}],"max_tokens":1}', "content a number":
    b'{"model":"a","messages":[{"role":"user","content":5}],"max_tokens":1}', "content of nulls":
    b'{"model":"a","messages":[{"role":"user","content":[null]}],"max_tokens":1}', "a tool that is none":
    b'{"model":"a","messages":[{"role":"user","content":"x"}],"max_tokens":1,"tools":[5]}', "huge number":
    b'{"model":"a","messages":[{"role":"user","content":"x"}],"max_tokens":' + b"9" * 5000 + b"}", "huge exponent":
    b'{"model":"a","messages":[{"role":"user","content":"x"}],"max_tokens":5,"temperature":1e999}', "huge unknown":
    VALID[:-1] + b',"x":' + b"9" * 5000 + b"}", "negative": VALID[:-1] + b',"n":-1,"max_tokens":-5}',
    "bad UTF-8 as content": VALID.replace(b'"x"', b'"\xff"'), "bad UTF-8 in an unknown field":
    VALID[:-1] + b',"x":"\xff"}',
    "bad UTF-8 as a key": VALID[:-1] + b',"\xff":1}', "lone surrogate as content": VALID.replace(b'"x"', b'"\\ud800"'),
    "lone surrogate in an unknown field": VALID[:-1] + b',"x":"\\udfff"}', "model twice": b'{"model":"a",' + VALID[1:],
    "everything twice": VALID[:-1] + b"," + VALID[1:], "deep but not too deep":
    VALID[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}",
    "many keys": b"{" + b",".join(b'"k%d":1' % i for i in range(4000)) + b',"model":"a"}', "escaped key":
    b'{"\\u006dodel":"a"}',
    "schema a text": VALID[:-1] + b',"response_format":"x"}', "thinking a text":
    VALID[:-1] + b',"thinking":"x","system":5}',
    "stop of objects": VALID[:-1] + b',"stop":[{}]}', "prompt of objects":
    b'{"model":"a","prompt":[{}],"max_tokens":1}',
    "an image that is none":
    b'{"model":"a","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image_url","image_url":5}]}]}',
    "a data URL that is none": b'{"model":"a","max_tokens":1,"messages":[{"role":"user","content":'
    b'[{"type":"image_url","image_url":{"url":"data:;base64,%%%"}}]}]}', "tool call of nothing":
    b'{"model":"a","max_tokens":1,"messages":[{"role":"assistant","tool_calls":[{}]},{"role":"tool"}]}',
}  # fmt: skip
"""JSON objects that make no sense, or not for every provider."""


@pytest.mark.parametrize("slug", [OPENAI_SLUG, ANTHROPIC_SLUG])
@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_json_object_is_refused_in_the_dialect_of_the_route(
    guard: Gateway, behind: Upstream, what: str, slug: str
) -> None:
    for route in SPOKEN:
        answer = call(guard, route, MALFORMED[what], x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=slug)
        assert answer.status == 400, named(route)
        assert_speaks(answer, route)
    assert not behind.requests()


@pytest.mark.parametrize("slug", [OPENAI_SLUG, ANTHROPIC_SLUG])
@pytest.mark.parametrize("what", WRONG)
def test_no_body_breaks_the_gateway(guard: Gateway, what: str, slug: str) -> None:
    for route in SPOKEN:
        answer = call(guard, route, WRONG[what], x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=slug)
        assert answer.status < 500, (named(route), answer)
        if answer.status >= 400:
            assert answer.error["message"]
    assert "Traceback" not in guard.log()


@pytest.mark.parametrize("what", {**MALFORMED, **WRONG})
def test_no_body_breaks_a_route_that_only_passes_it_on(guard: Gateway, what: str) -> None:
    body = {**MALFORMED, **WRONG}[what]
    for route in STREAMED:
        for headers in ({"x_portkey_virtual_key": OPENAI_SLUG}, {}):
            answer = call(guard, route, body, x_portkey_api_key=SEED_KEY, **headers)
            assert answer.status < 500, (named(route), answer)


@pytest.mark.parametrize("what", MALFORMED)
def test_administration_refuses_what_is_no_json_object(guard: Gateway, what: str) -> None:
    for route in ADMINISTERED:
        answer = call(guard, route, MALFORMED[what], x_portkey_api_key=key_for(route))
        assert answer.status in (400, 404, 409) if "model" in what else answer.status in (400, 404), named(route)
        assert_speaks(answer, route)


def wrong_values() -> Iterator[Any]:
    yield from (
        None,
        True,
        5,
        -1,
        1.5,
        "",
        "x",
        "\x00",
        "\ud83d\ude00",
        [],
        [None],
        {},
        {"x": {}},
        "x" * 10_000,
        10**30,
    )


@pytest.mark.parametrize("route", ADMINISTERED, ids=named)
def test_no_field_of_the_wrong_type_breaks_administration(guard: Gateway, route: Route) -> None:
    names = (
        "name", "slug", "key", "hash", "provider", "ai_provider", "config", "configs", "scopes", "limits",
        "rate_limits",
        "usage_limits", "expires_at", "defaults", "models", "custom_host", "custom_headers", "note", "metadata",
        "virtual_keys", "workspace_id", "integration_id", "workspaces", "configurations", "secret_mappings",
        "is_default",
    )  # fmt: skip
    for name in names:
        for value in wrong_values():
            body = json.dumps({name: value}).encode()
            with Wire(guard.port) as wire:
                head = request(route.method, path_of(route), body, **JSON, x_portkey_api_key=key_for(route))
                answer = wire.send(head).answer()
            assert answer.status < 500, (body[:100], answer)


@pytest.mark.parametrize("route", [r for r in ADMINISTERED if r.method == "POST"], ids=named)
def test_administration_names_the_field_that_it_does_not_know(guard: Gateway, route: Route) -> None:
    answer = ask(
        guard,
        route.method,
        path_of(route).replace("/type/sub_type", "/workspace/service"),
        b'{"surely_unknown_field":1}',
        x_portkey_api_key=key_for(route),
    )
    assert answer.status == (404 if "{id}" in route.path else 400)
    if answer.status == 400:
        assert "surely_unknown_field" in answer.error["message"]


@pytest.mark.parametrize("route", SPOKEN, ids=named)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "x"]
)
def test_a_body_of_another_type_is_refused(guard: Gateway, behind: Upstream, route: Route, kind: str) -> None:
    answer = ask(
        guard, route.method, path_of(route), VALID, Content_Type=kind, x_portkey_api_key=SEED_KEY,
        x_portkey_virtual_key=OPENAI_SLUG,
    )  # fmt: skip
    assert answer.status == 400
    assert_speaks(answer, route)
    assert not behind.requests()


@pytest.mark.parametrize("route", SPOKEN, ids=named)
def test_a_compressed_body_is_refused(guard: Gateway, behind: Upstream, route: Route) -> None:
    for encoding in ("gzip", "br", "deflate", "zstd", "gzip, gzip", "x"):
        answer = call(
            guard, route, gzip.compress(VALID), x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=OPENAI_SLUG,
            Content_Encoding=encoding,
        )  # fmt: skip
        assert answer.status == 415
    assert not behind.requests()


# -- sizes


def oversized(route: Route) -> int:
    return MAX_BODY + 1 if route.dialect is not None else 4 * 2**20 + 1


@pytest.mark.parametrize("route", [*SPOKEN, *ADMINISTERED], ids=named)
def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(
    guard: Gateway, behind: Upstream, route: Route
) -> None:
    with Wire(guard.port) as wire:
        key = BOTH if route.dialect is not None else key_for(route)
        head = request(route.method, path_of(route), **JSON, x_portkey_api_key=key, x_portkey_virtual_key=OPENAI_SLUG)
        wire.send(head[:-2] + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % oversized(route))
        answer = wire.answer()
        assert (answer.status, answer.informational) == (413, ())
        assert answer.header("connection") == "close"
        assert_speaks(answer, route)
        assert wire.ended()
    assert not behind.requests()


@pytest.mark.parametrize("route", [*SPOKEN, *ADMINISTERED], ids=named)
def test_a_body_that_grows_too_large_is_refused_on_its_way(guard: Gateway, behind: Upstream, route: Route) -> None:
    with Wire(guard.port) as wire:
        key = BOTH if route.dialect is not None else key_for(route)
        head = request(route.method, path_of(route), **JSON, x_portkey_api_key=key, x_portkey_virtual_key=OPENAI_SLUG)
        wire.send(head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        size = 2**15 if route.dialect is not None else 2**20
        chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
        for _ in range(oversized(route) // size + 1):
            wire.send(chunk)
        answer = wire.answer()
        assert answer.status == 413
        assert answer.header("connection") == "close"
        assert_speaks(answer, route)
    assert not behind.requests()


@pytest.mark.parametrize("route", SPOKEN, ids=named)
def test_a_body_of_just_the_limit_is_taken(guard: Gateway, route: Route) -> None:
    body = VALID + b" " * (MAX_BODY - len(VALID))
    answer = call(guard, route, body, x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=OPENAI_SLUG)
    assert answer.status < 413


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body == "none"], ids=named)
def test_a_body_where_none_belongs_confuses_nobody(guard: Gateway, behind: Upstream, route: Route) -> None:
    with Wire(guard.port) as wire:
        keys = {"x_portkey_api_key": BOTH, "x_portkey_virtual_key": OPENAI_SLUG}
        hidden = request("GET", "/v1/hidden", **keys)
        wire.send(request(route.method, path_of(route), hidden, **keys))
        assert wire.answer().status < 500
        wire.send(request("GET", "/healthz"))
        assert wire.answer().status == 200
    assert not any("hidden" in record.path for record in behind.requests())


def test_every_dialect_of_clients_is_covered() -> None:
    # The array is a form of a route that is told by its query only.
    assert {route.dialect for route in SPOKEN} == set(SERVED_BY) - {"gemini.stream_array"}


def test_a_key_is_not_told_of_virtual_keys_that_it_may_not_use(guard: Gateway) -> None:
    near = OPENAI_SLUG[:-1]
    body = json.dumps({"model": "gpt-4o", "messages": []}).encode()
    for key, told in (("lw-narrow", False), (SEED_KEY, True)):
        for fields in (
            {"x_portkey_virtual_key": "anthropic-aliase"}, {"x_portkey_provider": "@anthropic-aliase"},
            {"x_portkey_config": json.dumps({"virtual_key": "anthropic-aliase"})},
        ):  # fmt: skip
            answer = ask(guard, "POST", "/v1/chat/completions", body, **JSON, x_portkey_api_key=key, **fields)
            assert answer.status == 400
            assert ("did you mean 'anthropic-aliases'" in answer.error["message"]) == told
        answer = ask(
            guard, "POST", "/v1/chat/completions", body, **JSON, x_portkey_api_key=key, x_portkey_virtual_key=near
        )
        assert OPENAI_SLUG in answer.error["message"]
        listed = ask(guard, "GET", "/v1/models", x_portkey_api_key=key)
        assert ("@anthropic-aliases/" in listed.body.decode()) == told


@pytest.mark.parametrize("route", SPOKEN, ids=named)
def test_a_name_without_end_is_no_model(guard: Gateway, behind: Upstream, route: Route) -> None:
    body = json.dumps({**json.loads(VALID), "model": "m" * 1025}).encode()
    answer = call(guard, route, body, x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=OPENAI_SLUG)
    assert answer.status == 400
    assert_speaks(answer, route)
    assert "m" * 100 not in answer.body.decode()
    assert not behind.requests()
