"""Header fields, both ways, over real sockets: what is not listed does not pass, whatever its spelling or number."""

from __future__ import annotations

import json

import pytest

from proxy.headers import _LISTS, _READ
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, SEED_KEY, Gateway, Upstream
from tests.fakes.raw import Answer, Wire, request

CANARY = "canary-7f3a"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"max_tokens":5}'
ROUTES = {
    "verbatim": ("/v1/chat/completions", OPENAI_SLUG),
    "translated": ("/v1/chat/completions", ANTHROPIC_SLUG),
    "passed through": ("/v1/things", OPENAI_SLUG),
    "anthropic": ("/v1/messages", ANTHROPIC_SLUG),
}

NAMES = (
    # credentials and identities
    "Authorization", "Proxy-Authorization", "Proxy-Authenticate", "WWW-Authenticate", "X-Api-Key", "Api-Key",
    "X-Goog-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Amz-Security-Token", "X-Csrf-Token", "Cookie", "Cookie2",
    "Set-Cookie", "Set-Cookie2", "X-User", "X-User-Id", "X-Email", "X-Remote-User", "Remote-User", "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Access-Token", "Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion",
    "X-Ms-Client-Principal", "X-Amzn-Oidc-Data", "X-Vault-Token", "X-Gitlab-Token", "Private-Token", "X-Openai-Key",
    # where the request came from
    "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
    "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-Uri", "X-Real-Ip", "X-Client-Ip",
    "X-Cluster-Client-Ip", "X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "True-Client-Ip", "Cf-Connecting-Ip",
    "Cf-Ray", "Cf-Ipcountry", "Fastly-Client-Ip", "X-Envoy-External-Address", "X-Envoy-Original-Path", "X-Host",
    "X-Original-Host", "X-Original-Url", "X-Rewrite-Url", "X-Http-Host-Override", "X-Http-Method-Override",
    "X-Http-Method", "X-Method-Override", "Origin", "Referer", "User-Agent", "From", "Dnt", "X-Requested-With",
    "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Ch-Ua", "Sec-Gpc",
    # hop by hop
    "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "HTTP2-Settings", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version", "Alt-Used", "Alt-Svc", "Early-Data", "Max-Forwards", "Priority",
    # metadata services
    "Metadata-Flavor", "X-Google-Metadata-Request", "X-Aws-Ec2-Metadata-Token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds",
    "Metadata", "X-Identity-Header",
    # content and caches
    "Accept", "Accept-Encoding", "Accept-Language", "Accept-Charset", "Cache-Control", "Pragma", "If-Match",
    "If-None-Match", "If-Modified-Since", "If-Range", "Range", "Age", "Vary", "Warning", "Content-Md5", "Digest",
    "Content-Location", "Content-Language", "Content-Disposition", "Content-Security-Policy", "Link", "Prefer",
    # tracing
    "Traceparent", "Tracestate", "Baggage", "B3", "X-B3-Traceid", "X-Request-Id", "X-Correlation-Id", "X-Amzn-Trace-Id",
    "X-Cloud-Trace-Context", "X-Datadog-Trace-Id", "Uber-Trace-Id", "Sentry-Trace", "X-Client-Trace-Id", "Newrelic",
    # the SDKs' own
    "X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Arch", "X-Stainless-Runtime", "X-Stainless-Retry-Count",
    "X-Stainless-Package-Version", "X-Stainless-Async", "X-Stainless-Read-Timeout", "OpenAI-Organization",
    "OpenAI-Project", "X-Litellm-Tags", "Helicone-Auth", "X-Ms-Client-Request-Id", "X-Goog-User-Project",
    "Anthropic-Dangerous-Direct-Browser-Access", "Editor-Version", "Copilot-Integration-Id", "X-Title", "Http-Referer",
    # the gateway's
    "x-portkey-api-key", "x-portkey-config", "x-portkey-provider", "x-portkey-custom-host", "x-portkey-trace-id",
    "x-portkey-metadata", "x-portkey-cache", "x-portkey-debug", "x-portkey-runtime", "x-portkey-package-version",
    "x-portkey-aws-secret-access-key", "x-portkey-azure-entra-client-secret", "x-portkey-vertex-service-account-json",
    "x-portkey-default-input-guardrails", "x-portkey-retry-count", "x-portkey-mode", "x-portkey-anything",
    "x-loopway-api-key", "x-loopway-config", "x-loopway-anything", "x-mock-mode",
    # nobody's
    "X-Anything", "X", "Server", "Date", "Allow", "Location", "Retry-After", "Status", "Expires", "Etag",
    "Last-Modified", "P3p", "X-Powered-By", "X-Debug", "X-Debug-Token", "Strict-Transport-Security",
    "Access-Control-Allow-Origin", "Access-Control-Request-Headers", "X-Frame-Options", "X-Xss-Protection",
    "X-Accel-Redirect", "X-Sendfile", "Surrogate-Control", "Proxy", "Http-Proxy", "Upgrade-Insecure-Requests",
    "X-Robots-Tag", "X-Ua-Compatible", "X-Wap-Profile", "X-Att-Deviceid", "Save-Data", "Viewport-Width", "Width",
    "Downlink", "Ect", "Rtt", "Device-Memory", "Large-Allocation", "Sourcemap", "Timing-Allow-Origin", "Tk", "X-Pad",
)  # fmt: skip

# Sent with the request these make it another one, or none: what they do is tested where they belong.
STEERING = frozenset(("x-portkey-api-key", "x-portkey-config", "x-portkey-provider", "x-portkey-custom-host",
                      "x-loopway-api-key", "x-loopway-config", "cache-control"))  # fmt: skip
SENT = tuple(name for name in NAMES if name.lower() not in STEERING)


def spelled(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((name, name.lower(), name.upper(), name.lower().swapcase().title().swapcase())))


def ask(guard: Gateway, route: str, *fields: tuple[str, str]) -> Answer:
    path, slug = ROUTES[route]
    head = request(
        "POST", path, x_portkey_api_key=SEED_KEY, x_portkey_virtual_key=slug, Content_Type="application/json"
    )
    more = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    with Wire(guard.port) as wire:
        return wire.send(head[:-2] + more + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY).answer()


def test_the_list_is_long() -> None:
    assert len({name.lower() for name in NAMES}) >= 200


@pytest.mark.parametrize("route", ROUTES)
def test_no_field_of_a_client_reaches_a_provider_unasked(guard: Gateway, behind: Upstream, route: str) -> None:
    for name in SENT:
        for number, spelling in enumerate(spelled(name)):
            behind.reset()
            lower = name.lower()
            times = (
                1 if lower.encode() in _READ - _LISTS or lower.startswith(("x-portkey-", "x-loopway-")) else 1 + number
            )
            answer = ask(guard, route, *[(spelling, CANARY)] * times)
            if times > 1 and answer.status == 400:
                assert not behind.requests()
                continue
            assert answer.status == 200, (spelling, times, answer)
            assert CANARY not in str(behind.last.headers), spelling


@pytest.mark.parametrize("route", ROUTES)
def test_a_provider_gets_what_the_gateway_writes_and_nothing_else(guard: Gateway, behind: Upstream, route: str) -> None:
    ask(guard, route, ("Cookie", CANARY), ("X-Forwarded-For", CANARY), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    names = [name.lower() for name, _ in behind.last.headers]
    allowed = {"host", "authorization", "x-api-key", "content-type", "content-length", "accept-encoding", "user-agent"}
    assert set(names) <= allowed | {"anthropic-version"}
    assert len(names) == len(set(names))
    assert SEED_KEY not in str(behind.last.headers)
    assert OPENAI_SLUG not in str(behind.last.headers)


@pytest.mark.parametrize("route", ROUTES)
def test_no_credential_of_a_client_goes_beside_a_stored_one(guard: Gateway, behind: Upstream, route: str) -> None:
    for name in ("Authorization", "x-api-key", "api-key", "x-goog-api-key"):
        for value in (CANARY, f"Bearer {CANARY}", f"Basic {CANARY}"):
            assert ask(guard, route, (name, value)).status == 200
            assert CANARY not in str(behind.last.headers)


FORBIDDEN = (
    "authorization", "Authorization", "AUTHORIZATION", " authorization ", "x-api-key", "api-key", "x-goog-api-key",
    "cookie",
    "Cookie", "cookie2", "set-cookie", "host", "Host", "content-length", "Content-Length", "transfer-encoding",
    "connection",
    "keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization", "proxy-connection", "forwarded", "via",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip", "metadata-flavor",
    "Metadata-Flavor", "x-aws-ec2-metadata-token", "x-google-metadata-request", "x-portkey-api-key",
    "X-Portkey-Api-Key",
    "x-portkey-config", "x-portkey-virtual-key", "x-portkey-forward-headers", "x-loopway-api-key", "x_portkey_api_key",
    "content_length", "accept-encoding", "content-encoding", "content-type", "http2-settings", "x y", "x:y", "x\ty",
    "x-good, authorization", "authorization, x-good", ",host", "(x)", "x" * 200,
)  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_request_cannot_ask_for_a_forbidden_field_to_be_forwarded(
    guard: Gateway, behind: Upstream, name: str
) -> None:
    fields = (("x-portkey-forward-headers", name), ("x-good", "yes"), ("Cookie", CANARY), ("X-Forwarded-For", CANARY))
    answer = ask(guard, "verbatim", *fields)
    assert answer.status == 400
    assert answer.error["param"] == "forward_headers"
    assert CANARY not in answer.body.decode()
    config = json.dumps({"virtual_key": OPENAI_SLUG, "forward_headers": [part.strip() for part in name.split(",")]})
    answer = ask(guard, "verbatim", ("x-portkey-config", config.replace("\t", "\\t")), *fields[1:])
    assert answer.status == 400
    assert not behind.requests()


def test_a_field_that_may_pass_is_forwarded_when_asked_for(guard: Gateway, behind: Upstream) -> None:
    answer = ask(
        guard, "verbatim", ("x-portkey-forward-headers", "X-Good, x-absent"), ("x-GOOD", "yes"), ("x-bad", "no")
    )
    assert answer.status == 200
    assert behind.last.header("x-good") == "yes"
    assert behind.last.header("x-bad") is None
    assert behind.last.header("x-absent") is None


# -- towards the client

DOWN = {
    "content-type", "content-encoding", "content-length",
    "transfer-encoding", "connection", "openai-processing-ms", "openai-version",
    "x-request-id", "request-id", "retry-after", "x-portkey-trace-id", "x-portkey-provider",
    "x-portkey-last-used-option-index", "x-portkey-retry-attempt-count", "x-portkey-cache-status",
    "x-loopway-dropped-fields", "x-loopway-dropped-params",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["headers=200,set_cookie=1", "set_cookie=1", "status=500,set_cookie=1", "status=429"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_gets_listed_fields_only(guard: Gateway, behind: Upstream, mode: str, stream: bool) -> None:
    for path, slug, model in (
        ("/v1/chat/completions", OPENAI_SLUG, "gpt-4o"),
        ("/v1/chat/completions", ANTHROPIC_SLUG, "claude-sonnet-4-5"),
        ("/v1/messages", ANTHROPIC_SLUG, "claude-sonnet-4-5"),
    ):
        body = json.dumps({**json.loads(BODY), "model": f"{model}::{mode}", "stream": stream}).encode()
        fields = {"x_portkey_api_key": SEED_KEY, "x_portkey_virtual_key": slug, "Content_Type": "application/json"}
        with Wire(guard.port) as wire:
            answer = wire.send(request("POST", path, body, **fields)).answer()
        names = {name.lower() for name, _ in answer.headers}
        passing = {name for name in names if name.startswith(("x-ratelimit-", "anthropic-ratelimit-"))}
        assert names - passing <= DOWN
        assert {"set-cookie", "server", "openai-organization", "date", "alt-svc", "via"}.isdisjoint(names)


def test_a_cookie_is_not_given_back(guard: Gateway, behind: Upstream) -> None:
    for _ in range(3):
        body = json.dumps({**json.loads(BODY), "model": "gpt-4o::set_cookie=1"}).encode()
        fields = {
            "x_portkey_api_key": SEED_KEY,
            "x_portkey_virtual_key": OPENAI_SLUG,
            "Content_Type": "application/json",
        }
        with Wire(guard.port) as wire:
            assert wire.send(request("POST", "/v1/chat/completions", body, **fields)).answer().status == 200
        assert behind.last.header("cookie") is None


@pytest.mark.parametrize("route", ["verbatim", "translated"])
def test_a_redirect_is_never_followed(guard: Gateway, behind: Upstream, route: str) -> None:
    path, slug = ROUTES[route]
    model = "gpt-4o" if slug == OPENAI_SLUG else "claude-sonnet-4-5"
    body = json.dumps({**json.loads(BODY), "model": f"{model}::redirect={behind.url}/v1/stolen"}).encode()
    fields = {"x_portkey_api_key": SEED_KEY, "x_portkey_virtual_key": slug, "Content_Type": "application/json"}
    with Wire(guard.port) as wire:
        answer = wire.send(request("POST", path, body, **fields)).answer()
    assert answer.status == 502
    assert answer.header("location") is None
    assert "stolen" not in answer.body.decode()
    assert [record.route for record in behind.requests()] == [path if route == "verbatim" else "/v1/messages"]


@pytest.mark.parametrize("mode", ["gzip=1", "bomb=1"])
def test_a_compressed_answer_is_passed_as_such_or_refused_but_never_unpacked(
    guard: Gateway, behind: Upstream, mode: str
) -> None:
    # Providers are asked for none. What comes all the same is the client's to unpack, and costs the gateway nothing.
    for slug, model, stream in (
        (OPENAI_SLUG, "gpt-4o", False), (OPENAI_SLUG, "gpt-4o", True), (ANTHROPIC_SLUG, "claude-sonnet-4-5", False),
        (ANTHROPIC_SLUG, "claude-sonnet-4-5", True),
    ):  # fmt: skip
        body = json.dumps({**json.loads(BODY), "model": f"{model}::{mode}", "stream": stream}).encode()
        fields = {"x_portkey_api_key": SEED_KEY, "x_portkey_virtual_key": slug, "Content_Type": "application/json"}
        with Wire(guard.port) as wire:
            answer = wire.send(request("POST", "/v1/chat/completions", body, **fields)).answer()
        assert len(answer.body) < 2**20
        if slug == OPENAI_SLUG and not stream:
            assert (answer.status, answer.header("content-encoding")) == (200, "gzip")
            assert answer.body[:2] == b"\x1f\x8b"
        else:
            assert (answer.status, answer.header("content-encoding")) == (502, None)
