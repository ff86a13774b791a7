"""Whatever stands in a header field that the gateway reads: an answer of the 4xx kind, or none the worse for it."""

from __future__ import annotations

import json

import pytest

from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, SEED_KEY, Gateway, Upstream
from tests.fakes.raw import Wire

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"max_tokens":5,"stream":true}'
NAMES = (
    "x-portkey-config", "x-portkey-provider", "x-portkey-virtual-key", "x-portkey-custom-host", "x-portkey-trace-id",
    "x-portkey-metadata", "x-portkey-forward-headers", "x-portkey-request-timeout", "x-portkey-cache",
    "x-portkey-cache-force-refresh", "x-portkey-cache-namespace", "x-portkey-debug", "x-portkey-span-id",
    "x-portkey-strict-open-ai-compliance", "x-portkey-openai-beta", "x-portkey-openai-organization",
    "x-portkey-anthropic-beta", "x-portkey-anthropic-version", "x-portkey-runtime", "x-portkey-package-version",
    "x-portkey-default-input-guardrails", "x-portkey-vertex-service-account-json", "x-portkey-retry-count",
    "authorization", "x-api-key", "api-key", "x-goog-api-key", "traceparent", "tracestate", "baggage", "accept",
    "anthropic-beta", "anthropic-version", "openai-beta", "idempotency-key", "content-type", "cache-control", "te",
)  # fmt: skip


ROUTES = (("/v1/chat/completions", OPENAI_SLUG), ("/v1/messages", ANTHROPIC_SLUG), ("/v1/files", OPENAI_SLUG))


def nested(depth: int) -> str:
    config: object = {"virtual_key": OPENAI_SLUG}
    for _ in range(depth):
        config = {"strategy": {"mode": "fallback"}, "targets": [config]}
    return json.dumps(config, separators=(",", ":"))


VALUES: dict[str, bytes] = {
    "nothing": b"", "a letter": b"a", "long": b"a" * 30_000, "digits": b"9" * 30_000, "5,000 digits": b"1" * 5000,
    "zero": b"0", "minus one": b"-1", "a point": b"1.5", "1e999": b"1e999", "NaN": b"NaN", "true": b"true", "null":
    b"null",
    "an empty object": b"{}", "an empty list": b"[]", "an open object": b"{", "a text": b'"x"', "two objects": b"{}{}",
    "deep lists": b"[" * 30_000, "deep objects": b'{"a":' * 6000, "deep targets": nested(400).encode(),
    "deep targets, closed in time": nested(60).encode(), "strategies": b'{"strategy":' * 2500,
    "a deep override":
    b'{"virtual_key":"%b","override_params":{"x":%b%b}}' % (OPENAI_SLUG.encode(), b"[" * 9000, b"]" * 9000),
    "many targets": json.dumps({"strategy": {"mode": "fallback"},
    "targets": [{"virtual_key": OPENAI_SLUG}] * 900}).encode(),
    "a huge number": b'{"retry":{"attempts":' + b"9" * 5000 + b"}}", "wrong types": b'{"virtual_key":5,"targets":"x"}',
    "a model that is none": b'{"virtual_key":"%b","override_params":{"model":5}}' % OPENAI_SLUG.encode(),
    "a model of a slug": b'{"virtual_key":"%b","override_params":{"model":"@"}}' % OPENAI_SLUG.encode(),
    "a lone surrogate": b'{"virtual_key":"\\ud800"}', "a NUL in JSON": b'{"virtual_key":"\\u0000"}',
    "line ends in JSON": b'{"provider":"openai","api_key":"a\\r\\nx: y"}', "a text that is a slug": b"pc-",
    "an unknown config": b"pc-" + b"x" * 5000, "a slug": b"@", "a slug and a slash": b"@/", "slashes": b"////",
    "quotes": b"\"'`", "markup": b"<script>alert(1)</script>", "a format": b"%s%d%n{0}{x}", "a template":
    b"{{7*7}}${7*7}",
    "escapes": b"%00%0d%0a", "an injection": b"' OR 1=1; DROP TABLE api_keys; --", "a path": b"../../etc/passwd",
    "bytes": bytes(range(0x80, 0x100)), "bad UTF-8": b"\xff\xfe\xc0\xae", "UTF-8": "ключ-模型-🔑".encode(), "commas":
    b",,,,",
    "Bearer": b"Bearer", "Bearer and blanks": b"Bearer    ", "Bearer twice": b"Bearer Bearer x", "Basic": b"Basic Og==",
    "a traceparent": b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", "a short traceparent": b"00-1", "a version":
    b"ff-" + b"\xff" * 40,
    "a type": b"application/json; charset=\xff", "a type twice": b"application/json, text/plain", "a boundary":
    b"multipart/form-data",
    "a stream": b"text/event-stream", "q": b"a;q=0.5,b;q=9", "Infinity": b"Infinity", "hex": b"0x10", "a tab": b"a\tb",
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_no_value_of_a_field_breaks_the_gateway(guard: Gateway, behind: Upstream, what: str) -> None:
    failures = guard.log().count("Traceback")
    for number, name in enumerate(NAMES):
        # Each field on one route, and content types on all: they decide what is read at all.
        for path, slug in ROUTES if name == "content-type" else (ROUTES[number % 3],):
            lines = {"x-portkey-virtual-key": slug.encode(), "content-type": b"application/json", name: VALUES[what]}
            head = b"".join(b"%b: %b\r\n" % (key.encode(), value) for key, value in lines.items())
            with Wire(guard.port) as wire:
                wire.send(
                    b"POST %b HTTP/1.1\r\nhost: x\r\nx-portkey-api-key: %b\r\n%bcontent-length: %d\r\n\r\n%b"
                    % (path.encode(), SEED_KEY.encode(), head, len(BODY), BODY)
                )
                answer = wire.answer()
            # A provider may dislike what was meant for it; the gateway's own failures are 5xx without its name.
            assert answer.status < 500, (name, answer)
            assert b"root:" not in answer.body
    assert guard.log().count("Traceback") == failures


QUERIES = (
    "", "?", "?model", "?model=", "?model=@", "?model=@x/y", "?model=%40" + OPENAI_SLUG + "/gpt-4o", "?%", "?a=%zz",
    "?&&&", "?" + "a=b&" * 1500, "?model=%ff%fe", "?model=@%00/x", "?stream=true", "?model=@a&model=@b", "?;;",
    "?a[]=1", "?" + "=" * 500,
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_breaks_the_gateway(guard: Gateway, query: str) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/files", "/v1/models", "/v1/api-keys", "/v1/virtual-keys"):
        for method in ("GET", "POST"):
            with Wire(guard.port) as wire:
                wire.send(
                    f"{method} {path}{query} HTTP/1.1\r\nhost: x\r\nx-portkey-api-key: lw-both\r\n"
                    f"content-length: {len(BODY)}\r\n\r\n".encode()
                    + BODY
                )
                assert wire.answer().status < 500, (method, path)
