"""Requests that two programs might read differently, and what the gateway must make of each.

Every vector is the whole of what a client sends before its canary. `SMUGGLED` is the request that a vector tries to
get past the gateway; `BODY` is the body of those requests that are meant to be served.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from tests.fakes.gateway import OPENAI_SLUG, SEED_KEY


class Outcome(Enum):
    """What may become of a vector."""

    REFUSED = "refused: one answer of the 4xx kind (or 501, 505), nothing sent upstream, the connection closed"
    SERVED = "served: as the one request it is, its body arriving as sent"
    LAST = "served, as the last of its connection; refused whole if anything comes behind it"
    ANSWERED = "answered here: nothing is sent upstream, and what followed on the connection is not confused with it"
    UNFINISHED = "unfinished: the client leaves before the message ends, and nothing is sent upstream"


REFUSED, SERVED, LAST, ANSWERED, UNFINISHED = Outcome

AUTH = b"x-portkey-api-key: %b\r\nx-portkey-virtual-key: %b\r\n" % (SEED_KEY.encode(), OPENAI_SLUG.encode())
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"a vector"}]}'
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: gateway\r\n%b\r\n" % AUTH
CANARY = b"GET /v1/canary HTTP/1.1\r\nHost: gateway\r\n%b\r\n" % AUTH
LENGTH = b"Content-Length: %d" % len(BODY)
WARM = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n%bContent-Type: application/json\r\n%b\r\n\r\n%b" % (
    AUTH,
    LENGTH,
    BODY,
)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


class Vector(NamedTuple):
    """One row. `step` is how many bytes go into each write; 0: all in one."""

    name: str
    data: bytes
    outcome: Outcome = REFUSED
    step: int = 0


def message(
    *lines: bytes, body: bytes = b"", first: bytes = b"POST /v1/chat/completions HTTP/1.1", host: bytes = b"gateway"
) -> bytes:
    """A request with these further header lines; host b"" leaves the Host line out."""
    head = [first, *([b"Host: " + host] if host else []), AUTH + b"Content-Type: application/json", *lines, b"", b""]
    return b"\r\n".join(head) + body


def get(target: bytes, *lines: bytes) -> bytes:
    return message(*lines, first=b"GET %b HTTP/1.1" % target)


def shown(data: bytes) -> str:
    text = repr(data)[2:-1].replace("\\x", "x")
    return text if len(text) <= 40 else f"{text[:32]}… ({len(data)} bytes)"


# -- which of the two lengths counts


def _lengths() -> Iterator[Vector]:
    n = len(BODY)
    hidden = b"0\r\n\r\n" + SMUGGLED
    yield Vector("CL.TE", message(b"Content-Length: %d" % len(hidden), CHUNKED, body=hidden))
    yield Vector("TE.CL", message(CHUNKED, b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)))
    yield Vector("TE.CL hidden", message(CHUNKED, b"Content-Length: 3", body=b"8\r\nSMUGGLED\r\n0\r\n\r\n" + SMUGGLED))
    yield Vector("CL and TE that agree", message(LENGTH, CHUNKED, body=CHUNKS))
    yield Vector("CL 0 and TE", message(b"Content-Length: 0", CHUNKED, body=CHUNKS))
    yield Vector(
        "CL.0 on a list of models", get(b"/healthz", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, ANSWERED
    )
    yield Vector("CL.0 on nothing", get(b"/elsewhere", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, ANSWERED)
    yield Vector("0.CL", message(b"Content-Length: 0", body=SMUGGLED), ANSWERED)
    yield Vector("no length", message(body=SMUGGLED), ANSWERED)
    yield Vector("no length, body", message(body=BODY), ANSWERED)
    yield Vector("a body shorter than its length", message(b"Content-Length: %d" % (n + 1), body=BODY), UNFINISHED)
    yield Vector("a body longer than its length", message(b"Content-Length: %d" % (n - 1), body=BODY), ANSWERED)
    yield Vector("two that agree", message(LENGTH, LENGTH, body=BODY))
    yield Vector("two that differ", message(LENGTH, b"Content-Length: 0", body=BODY))
    yield Vector("two that differ, turned", message(b"Content-Length: 0", LENGTH, body=BODY))
    yield Vector("two, one of them empty", message(LENGTH, b"Content-Length:", body=BODY))
    yield Vector("two in different case", message(LENGTH, LENGTH.lower(), body=BODY))
    yield Vector("folded", message(b"Content-Length:\r\n %d" % n, body=BODY))
    yield Vector("spelled small", message(LENGTH.lower(), body=BODY), SERVED)
    yield Vector("without a space", message(b"Content-Length:%d" % n, body=BODY), SERVED)
    yield Vector("with spaces around", message(b"Content-Length: \t %d \t" % n, body=BODY), SERVED)
    yield Vector("with a zero in front", message(b"Content-Length: 0%d" % n, body=BODY), SERVED)
    for value in (
        b"+%d" % n, b"-%d" % n, b"-1", b"0x%x" % n, b"0_%d" % n, b"1e2", b"%d.0" % n, b"%d %d" % (n, n),
        b"%d,%d" % (n, n), b"%d, %d" % (n, n), b"%d, 0" % n, b"", b" ", b"%d;" % n, b"\x0b%d" % n, b"%d\x0b" % n,
        b"\x0c%d" % n, b"%d\x00" % n, b"\x00%d" % n, b"NaN", "٦٨".encode(), "６８".encode(), b"'%d'" % n, b'"%d"' % n,
        b"%d\t0" % n, b"%d\r" % n, b"%d%%20" % n, b"\xa0%d" % n, b"%d\x85" % n, b"chunked",
        b"%d" % 2**63, b"%d" % (2**64 + n), b"%d" % 10**30, b"9" * 400,
    ):  # fmt: skip
        yield Vector(f"value {shown(value)}", message(b"Content-Length: %b" % value, body=BODY))
    for line in (
        b"Content-Length : %d", b"Content-Length\t: %d", b" Content-Length: %d", b"Content_Length: %d",
        b"Content-Length\x00: %d", b"Content-Length\x0b: %d", b"Content-Length %d", b"Content Length: %d",
        b"Content-Length\r\n: %d", b"X: y\nContent-Length: %d", b"X: y\rContent-Length: %d", b"Content\xadLength: %d",
    ):  # fmt: skip
        yield Vector(f"line {shown(line)}", message(line % n, body=BODY))


def _encodings() -> Iterator[Vector]:
    for value in (
        b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked, gzip",
        b"gzip", b"identity", b"deflate", b"chunked, chunked", b"chunked,chunked", b"\x0bchunked", b"chunked\x0b",
        b"\x0cchunked", b"chunked\x0c", b"chunked\x00", b"\x00chunked", b'"chunked"', b"'chunked'", b"chunked;x",
        b"chunked; q=1", b"chunked,", b",chunked", b", chunked", b"chunke d", b"chun\tked", b"x chunked", b"chunked x",
        b"trailers, chunked", b"cow", b"", b"  ", b"\xa0chunked", b"chunked\x85", b"chunked\r", b"chunked\xff",
        b"\xc4\xb1chunked", "ſhunked".encode(), "chun\u212aed".encode(), b"chunked\x7f", b"chunked\x1f", b"%63hunked",
    ):  # fmt: skip
        yield Vector(f"value {shown(value)}", message(b"Transfer-Encoding: %b" % value, body=CHUNKS))
        if value in (b"xchunked", b"identity", b"\x0bchunked", b"chunked, identity", b"", b"cow"):
            both = message(LENGTH, b"Transfer-Encoding: %b" % value, body=BODY)
            yield Vector(f"value {shown(value)} beside a length", both)
    for first, second in ((b"chunked", b"identity"), (b"identity", b"chunked"), (b"chunked", b"x"), (b"x", b"chunked"),
                          (b"chunked", b"chunked"), (b"", b"chunked"), (b"chunked", b"")):  # fmt: skip
        lines = (b"Transfer-Encoding: %b" % first, b"Transfer-Encoding: %b" % second)
        yield Vector(f"twice, {shown(first)} and {shown(second)}", message(*lines, body=CHUNKS))
    for line in (
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"Transfer-Encoding\x00: chunked",
        b"Transfer-Encoding\x0b: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
        b"Transfer-Encoding\r\n : chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\n chunked", b"Transfer-Encoding:\r\n\tchunked", b"Transfer-Encoding chunked", b": chunked",
        b"\xa0Transfer-Encoding: chunked", "Transfer‐Encoding: chunked".encode(), b"\x00Transfer-Encoding: chunked",
        b"Transfer Encoding: chunked", b"Transfer-Encoding; chunked", b"(Transfer-Encoding): chunked",
    ):  # fmt: skip
        yield Vector(f"line {shown(line)} beside a length", message(LENGTH, line, body=BODY))
    old = b"POST /v1/chat/completions HTTP/1.0"
    yield Vector("in HTTP/1.0", message(CHUNKED, body=CHUNKS, first=old))
    yield Vector("in HTTP/1.0 beside a length", message(LENGTH, CHUNKED, body=BODY, first=old))
    for line in (b"TRANSFER-ENCODING: CHUNKED", b"transfer-encoding:chunked", b"Transfer-Encoding: \t chunked"):
        yield Vector(f"line {shown(line)}", message(line, body=CHUNKS), SERVED)


def _chunks() -> Iterator[Vector]:
    n = len(BODY)
    hexed = b"%x" % n

    def sized(size: bytes) -> bytes:
        return message(CHUNKED, body=size + b"\r\n" + BODY + b"\r\n0\r\n\r\n")

    yield Vector("one chunk", sized(hexed), SERVED)
    yield Vector(
        "each byte a chunk", message(CHUNKED, body=b"".join(b"1\r\n%c\r\n" % c for c in BODY) + b"0\r\n\r\n"), SERVED
    )
    yield Vector("each byte a chunk and a write", message(CHUNKED, body=CHUNKS), SERVED, step=1)
    for size in (hexed.upper(), b"0" + hexed, b"0000" + hexed, hexed + b";x", hexed + b";x=y", hexed + b';x="y z"'):
        yield Vector(f"size {shown(size)}", sized(size), SERVED)
    for size in (
        b"0x" + hexed, b"+" + hexed, b"-" + hexed, b" " + hexed, hexed + b" ", hexed + b"\t",
        hexed[:1] + b"_" + hexed[1:],
        hexed + b"g", b"g", b"", b"0x", b"1" + b"0" * 14 + hexed, b"f" * 17, b"f" * 100, hexed + b";\n",
        hexed + b";x\ny", hexed + b"\n", hexed + b"\r", hexed + b"\x00", hexed + b";\x00",
        hexed + b";x\ry", b"\xb2",
        hexed + b",", hexed + b"=x", "٤٤".encode(), hexed + b";x=\x01",
    ):  # fmt: skip
        yield Vector(f"size {shown(size)}", sized(size))
    for end in (b"\n", b"\r", b"XX", b"", b"\n\r", b" \r\n", b"\r\n\r\n"):
        body = hexed + b"\r\n" + BODY + end + b"0\r\n\r\n"
        yield Vector(f"data ended by {shown(end)}", message(CHUNKED, body=body))
    for end in (
        b"0\n\n",
        b"0\r\r",
        b"0\r\n\n",
        b"-0\r\n\r\n",
        b"0x0\r\n\r\n",
        b" 0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"0 \r\n\r\n",
    ):
        yield Vector(f"last chunk {shown(end)}", message(CHUNKED, body=hexed + b"\r\n" + BODY + b"\r\n" + end))
    yield Vector("last chunk of many zeros", message(CHUNKED, body=CHUNKS[:-5] + b"0000\r\n\r\n"), SERVED)
    yield Vector("line feeds only", message(CHUNKED, body=hexed + b"\n" + BODY + b"\n0\n\n"))
    yield Vector("no last chunk", message(CHUNKED, body=CHUNKS[:-5]), UNFINISHED)
    yield Vector("no last line", message(CHUNKED, body=CHUNKS[:-2]), UNFINISHED)
    yield Vector("nothing", message(CHUNKED), UNFINISHED)
    for size in (b"7fffffffffffffff", b"8000000000000000", b"f" * 16):
        yield Vector(f"size {shown(size)}", message(CHUNKED, body=size + b"\r\n" + BODY), UNFINISHED)
    yield Vector("an extension of a megabyte", sized(hexed + b";" + b"x" * 2**20), SERVED)
    yield Vector("a smuggled request in an extension", sized(hexed + b";x\n\n" + SMUGGLED))
    for trailer in (
        b"Authorization: Bearer evil",
        b"x-portkey-api-key: evil",
        b"x-portkey-config: {}",
        b"X: y",
        b"Connection: upgrade",
    ):
        yield Vector(f"trailer {shown(trailer)}", message(CHUNKED, body=CHUNKS[:-2] + trailer + b"\r\n\r\n"), SERVED)
    for trailer in (b"Host: evil", b"Host:"):
        yield Vector(f"trailer {shown(trailer)}", message(CHUNKED, body=CHUNKS[:-2] + trailer + b"\r\n\r\n"), LAST)
    for trailer in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        yield Vector(f"trailer {shown(trailer)}", message(CHUNKED, body=CHUNKS[:-2] + trailer + b"\r\n\r\n"))
    for trailer in (b"X\x00: y", b"X: y\x00", b"X : y", b"no colon", b"X: y\nZ: w", b"X: y\r\n folded", b" X: y"):
        yield Vector(f"trailer {shown(trailer)}", message(CHUNKED, body=CHUNKS[:-2] + trailer + b"\r\n\r\n"))
    many = b"".join(b"X-%d: y\r\n" % i for i in range(2000))
    yield Vector("2,000 trailers", message(CHUNKED, body=CHUNKS[:-2] + many + b"\r\n"))
    yield Vector("a trailer of 70 KB", message(CHUNKED, body=CHUNKS[:-2] + b"X: " + b"y" * 70_000 + b"\r\n\r\n"))


# -- the first line


def _versions() -> Iterator[Vector]:
    plain = b"GET /v1/models"
    yield Vector("HTTP/0.9", plain + b"\r\n", UNFINISHED)
    yield Vector("RTSP/1.0, read as HTTP/1.0", message(first=b"GET /healthz RTSP/1.0"), LAST)
    yield Vector("HTTP/0.9 with a blank line", plain + b"\r\n\r\n")
    for version in (
        b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/2", b"HTTP/3.0", b"HTTP/11.1", b"HTTP/1.",
        b"HTTP/.1",
        b"HTTP/1.1x", b"http/1.1", b"HTPP/1.1", b"HTTP/1,1", b"HTTP/ 1.1", b"HTTP/-1.1", b"HTTP /1.1", b"HTTP",
        b"ICE/1.0",
        b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.1\x00", b"HTTP/1.1 HTTP/1.1", b"HTTP/1.1\t", b"HTTPS/1.1",
    ):  # fmt: skip
        yield Vector(f"version {shown(version)}", message(first=plain + b" " + version))
    yield Vector("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield Vector("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64)
    yield Vector("SOCKS", b"\x05\x01\x00" + b"\r\n\r\n")


def _first_lines() -> Iterator[Vector]:
    line = b"GET /healthz HTTP/1.1"
    for first in (
        b"GET\t/healthz HTTP/1.1", b"GET /healthz\tHTTP/1.1",
        b" " + line,
        b"\x00" + line, b"\t" + line, line + b"\r", b"GET /healthz HTTP/1.1\nX: y", b"GET\x0b/healthz HTTP/1.1",
        b"GET /healthz HTTP/1.1\rX: y", b"\xef\xbb\xbf" + line, b"GET", b"GET ", b"", b":",
        b"GET\r\n /healthz HTTP/1.1",
    ):  # fmt: skip
        yield Vector(f"line {shown(first)}", message(first=first) if first else b"\r\n\r\nx\r\n\r\n")
    for first in (b"GET  /healthz HTTP/1.1", b"GET /healthz  HTTP/1.1"):
        yield Vector(f"line {shown(first)}", message(first=first), ANSWERED)
    yield Vector("blank lines before it", b"\r\n\r\n" + message(LENGTH, body=BODY), SERVED)
    yield Vector("line feeds only", b"GET /healthz HTTP/1.1\nHost: gateway\n\n")
    yield Vector("carriage returns only", b"GET /healthz HTTP/1.1\rHost: gateway\r\r")
    for method in (
        b"post", b"Post", b"P", b"POSTX", b"POST\x00", b"P OST", b"TRACE", b"TRACK", b"DEBUG", b"PROPFIND", b"SEARCH",
        b"QUERY", b"M-SEARCH", b"SOURCE", b"PURGE", b"LOCK", b"LINK", b"A" * 100, "GЕT".encode(), b"GET,POST",
        b"(GET)", b"G\xc5T",
    ):  # fmt: skip
        yield Vector(f"method {shown(method)}", message(first=method + b" /v1/models HTTP/1.1"))
    for target in (b"evil:443", b"evil", b"/v1/models", b"http://evil/", b"169.254.169.254:80"):
        yield Vector(f"CONNECT {shown(target)}", message(first=b"CONNECT %b HTTP/1.1" % target))


def _targets() -> Iterator[Vector]:
    for target in (
        b"http://gateway/v1/models", b"http://evil/v1/models", b"https://evil/v1/models", b"HTTP://evil/",
        b"ftp://evil/",
        b"//evil/v1/models", b"/v1//models", b"//", b"/v1/models//", b"/v1/./models", b"/v1/../v1/models", b"/v1/..",
        b"/v1/.", b"/../", b"/v1/%2e%2e/models", b"/v1/%2E/models", b"/v1/.%2e/models", b"/v1/%2e./x",
        b"/v1/..;/models",
        b"/v1/..;x=y/models", b"/v1/.;/models", b"/v1/x%2f..%2fmodels", b"/v1/x%2F..%2Fmodels", b"/v1/..%2fmodels",
        b"/v1/x/..%2f",
        b"/v1/x%2f%2fevil", b"/v1\\models", b"/v1/..\\x", b"/v1/%5cmodels", b"/v1/%5Cx", b"/v1/%00",
        b"/v1/models%00.json",
        b"/v1/models#x", b"/v1/models#@evil", b"/v1/models?x#y", b"#", b"*", b"v1/models", b"?x", b"@evil/v1", b":80/",
        b"/v1/mod\x00els", b"/v1/mod\x01els", b"/v1/mod\x7fels", b"/v1/mod\x1fels", b"/v1/mod els", b"/v1/mod\tels",
        b"/v1/mod\x0bels", "/v1/modèls".encode(), b"/v1/mod\xff", b"/v1/models?q=\xff", "/v1/models?q=世".encode(),
        b"/v1/models?q=\x00", b"/v1/models?q=\x01", b"/v1/models?q=\x7f", b"/v1/%", b"/v1/%zz", b"/v1/%2",
        b"/v1/%u002e",
        b"/v1/models?a b", b"http://[::1/", b"http://[evil]/", b"/v1/\xc0\xae\xc0\xae/models", b"/v1/%252e%252e/x\x00",
        b"http://gateway:99999999/", b"http:///v1/models", b"http://", b"/v1/mod\rels", b"/v1/models\r\nX: y",
    ):  # fmt: skip
        yield Vector(f"target {shown(target)}", get(target))
    for target in (
        b"/v1/files/a%20b",
        b"/v1/files/a%2Fb",
        b"/v1/files/a;b",
        b"/v1/files/..a",
        b"/v1/files/a..",
        b"/v1/files?a=%zz",
    ):
        yield Vector(f"target {shown(target)}", get(target), SERVED)


def _hosts() -> Iterator[Vector]:
    yield Vector("missing", message(LENGTH, body=BODY, host=b""))
    yield Vector("twice the same", message(b"Host: gateway", LENGTH, body=BODY))
    yield Vector("twice", message(b"Host: evil", LENGTH, body=BODY))
    yield Vector("twice in different case", message(b"HOST: evil", LENGTH, body=BODY))
    yield Vector("empty", message(b"Host:", LENGTH, body=BODY, host=b""))
    yield Vector("a name with an underscore", message(LENGTH, body=BODY, host=b"my_gateway:8787"), SERVED)
    yield Vector("an address", message(LENGTH, body=BODY, host=b"127.0.0.1:8787"), SERVED)
    yield Vector("an address of version 6", message(LENGTH, body=BODY, host=b"[::1]:8787"), SERVED)
    for host in (
        b"x/#@evil", b"x/", b"x#y", b"x?y", b"a b", b"user@gateway", b"user:pass@gateway", b"gateway:99999999",
        b"gateway:",
        b"gateway:-1", b"gateway:x", b"gateway,evil", b"gateway, evil", b"[::1", b"::1", b"[::1]x", b"[x]", b"h\x00st",
        b"h\x01st", b"h\x7fst", "hôst".encode(), b"evil\\x", b"%65vil", b"gateway:80:80", b"http://gateway",
        b"gate\tway",
        b"gateway;evil", b"<script>", b"$(id)", b"{{x}}", b"'", b"x" * 300, b"gateway\xa0",
    ):  # fmt: skip
        yield Vector(f"value {shown(host)}", message(LENGTH, body=BODY, host=host))
    for line in (b"Host : evil", b"Host\t: evil", b" Host: evil", b"H\x00st: evil"):
        yield Vector(f"line {shown(line)}", message(line, LENGTH, body=BODY))


# -- upgrades and expectations


def _upgrades() -> Iterator[Vector]:
    h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    websocket = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: eA==",
    )
    # An offer that nobody takes up changes nothing: the bytes behind it are HTTP/1.1 as before.
    yield Vector("h2c", get(b"/healthz", *h2c), ANSWERED)
    yield Vector("h2c with a body", message(*h2c, LENGTH, body=BODY), SERVED)
    yield Vector(
        "h2c with a hidden request", message(*h2c, b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), ANSWERED
    )
    yield Vector("h2c behind which a request hides", get(b"/healthz", *h2c) + SMUGGLED, ANSWERED)
    yield Vector("h2c in chunks", message(*h2c, CHUNKED, body=CHUNKS), SERVED)
    yield Vector("h2c and websocket", message(*h2c, b"Upgrade: websocket", LENGTH, body=BODY))
    yield Vector("websocket", get(b"/v1/models", *websocket))
    yield Vector("websocket with a body", message(*websocket, LENGTH, body=BODY))
    yield Vector("websocket on a pass-through path", get(b"/v1/realtime", *websocket))
    yield Vector("websocket with a hidden request", get(b"/v1/models", *websocket) + SMUGGLED)
    for value in (b"TLS/1.0", b"HTTP/2.0", b"foo", b"WebSocket", b"h2c, websocket", b""):
        yield Vector(f"Upgrade: {shown(value)} alone", message(b"Upgrade: " + value, LENGTH, body=BODY))
    yield Vector(
        "Connection: upgrade, Upgrade: foo", message(b"Connection: upgrade", b"Upgrade: foo", LENGTH, body=BODY)
    )


def _expectations() -> Iterator[Vector]:
    for value in (b"100-continue", b"100-Continue", b" 100-continue\t"):
        yield Vector(f"value {shown(value)}", message(b"Expect: " + value, LENGTH, body=BODY), SERVED)
    yield Vector("in chunks", message(b"Expect: 100-continue", CHUNKED, body=CHUNKS), SERVED)
    for value in (
        b"y 100-continue", b"100-continue, x", b"100-continue,", b"\x0b100-continue", b"100-continue\x0b", b"200-ok",
        b"",
        b"100", b"continue", b"100 continue", b"100-continue;q=1", b"100-continu", b"\xa0100-continue",
        b"101-switching",
    ):  # fmt: skip
        yield Vector(f"value {shown(value)}", message(b"Expect: " + value, LENGTH, body=BODY))
    expect = b"Expect: 100-continue"
    yield Vector("twice", message(expect, expect, LENGTH, body=BODY))
    yield Vector("with a space", message(b"Expect : 100-continue", LENGTH, body=BODY))
    yield Vector("folded", message(b"Expect:\r\n 100-continue", LENGTH, body=BODY))
    yield Vector("without a body", get(b"/healthz", expect), ANSWERED)
    yield Vector("0.CL with a hidden request", message(expect, b"Content-Length: 0", body=SMUGGLED), ANSWERED)


# -- header lines


def _lines() -> Iterator[Vector]:
    for code in (*range(0x01, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, 0x00):
        yield Vector(f"a value with x{code:02x}", message(b"X-Any: a%cb" % code, LENGTH, body=BODY))
        yield Vector(f"a name with x{code:02x}", message(b"X-A%cny: a" % code, LENGTH, body=BODY))
    for line in (
        b"X-Any: a\rb", b"X-Any: a\nb", b"X-Any: a\nX-Other: b", b"X-Any: a\r\n folded", b"X-Any: a\r\n\tfolded",
        b"X-Any: a\n folded",
        b"no colon", b": no name", b"X Any: a", b"(X): a", b"X[any]: a", b'"X": a', b"X@y: a", b"X/y: a", b"X,y: a",
        b"X=y: a", b"X?y: a",
        b"X\xe4: a", "X–y: a".encode(), b"X-Any : a", b"X-Any\t: a", b" X-Any: a", b"\tX-Any: a", b"\r", b"\r\r",
        b"X-Any:\r\n folded",
    ):  # fmt: skip
        yield Vector(f"line {shown(line)}", message(line, LENGTH, body=BODY))
    yield Vector("folded first line", message().replace(b"Host:", b" Host:", 1) + BODY)
    for line in (
        b"X-Any:",
        b"X-Any: a:b:c",
        b"X-Any: \xe4\xf6",
        b"X-Any: a\tb",
        b"!#$%&'*+-.^_`|~: a",
    ):
        yield Vector(f"line {shown(line)}", message(line, LENGTH, body=BODY), SERVED)
    yield Vector("Connection: close", message(b"Connection: close, x-portkey-api-key", LENGTH, body=BODY), LAST)
    for name in (
        b"x_portkey_api_key", b"x-portkey_api-key", b"X_PORTKEY_VIRTUAL_KEY", b"x_portkey_config",
        b"x_portkey_custom_host",
        b"x_loopway_config", b"X-Loopway_Provider", b"Content_Type", b"transfer_encoding", b"x_api_key", b"api_key",
        b"x_goog_api_key", b"anthropic_version", b"idempotency_key", b"x_portkey-trace-id", b"openai_beta",
    ):  # fmt: skip
        yield Vector(f"underscores in {shown(name)}", message(name + b": 1", LENGTH, body=BODY))


# In a request to the chat route each of these stands once at most.
SINGLETONS: tuple[bytes, ...] = (
    b"Authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-portkey-config", b"x-portkey-provider",
    b"x-portkey-custom-host", b"x-portkey-trace-id", b"x-portkey-metadata", b"x-portkey-forward-headers",
    b"x-portkey-request-timeout", b"x-portkey-strict-open-ai-compliance", b"x-portkey-anything-new",
    b"anthropic-version",
    b"openai-beta", b"openai-organization", b"openai-project", b"idempotency-key", b"traceparent", b"content-encoding",
    b"expect", b"upgrade",
)  # fmt: skip


def _duplicates() -> Iterator[Vector]:
    for name in SINGLETONS:
        yield Vector(f"{shown(name)} twice", message(name + b": a", name + b": b", LENGTH, body=BODY))
        yield Vector(f"{shown(name)} twice the same", message(name + b": a", name.upper() + b": a", LENGTH, body=BODY))
    for name in (
        b"x-portkey-api-key",
        b"x-portkey-virtual-key",
        b"Content-Type",
        b"x-loopway-api-key",
        b"X-Loopway-Virtual-Key",
    ):
        yield Vector(f"another {shown(name)}", message(name + b": b", LENGTH, body=BODY))
    for name in (b"Accept", b"tracestate", b"baggage", b"Cookie", b"X-Forwarded-For", b"Via", b"anthropic-beta"):
        yield Vector(f"{shown(name)} twice", message(name + b": a", name + b": b", LENGTH, body=BODY), SERVED)


def _sizes() -> Iterator[Vector]:
    long_target = get(b"/v1/" + b"a" * 9000)
    long_query = get(b"/v1/models?" + b"a" * 70_000)
    long_value = message(b"X-Any: " + b"a" * 40_000, LENGTH, body=BODY)
    long_name = message(b"X-" + b"a" * 40_000 + b": a", LENGTH, body=BODY)
    many = message(*(b"X-%d: a" % i for i in range(120)), LENGTH, body=BODY)
    very_many = message(*(b"X-%d: a" % i for i in range(5000)), LENGTH, body=BODY)
    total = message(*(b"X-%d: %b" % (i, b"a" * 1000) for i in range(90)), LENGTH, body=BODY)
    for name, data in (
        ("a target of 9 KB", long_target), ("a query of 70 KB", long_query), ("a value of 40 KB", long_value),
        ("a name of 40 KB", long_name), ("120 fields", many), ("5,000 fields", very_many), ("90 KB of fields", total),
        ("a line without end", b"A" * 200_000), ("a target without end", b"GET /" + b"a" * 200_000),
        ("fields without end", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000),
    ):  # fmt: skip
        yield Vector(name, data)
        yield Vector(f"{name}, in pieces", data, step=1 if len(data) < 10_000 else 997)
    yield Vector("no answer to half a head", b"GET /v1/models HTTP/1.1\r\nHost: gat", UNFINISHED)
    yield Vector("a request in single bytes", message(LENGTH, body=BODY), SERVED, step=1)
    yield Vector("60 fields", message(*(b"X-%d: a" % i for i in range(60)), LENGTH, body=BODY), SERVED)
    yield Vector("a value of 30 KB", message(b"X-Any: " + b"a" * 30_000, LENGTH, body=BODY), SERVED)


def _pipelines() -> Iterator[Vector]:
    whole = message(LENGTH, body=BODY)
    yield Vector("two at once", whole + SMUGGLED, SERVED)
    yield Vector("forty at once", whole + SMUGGLED * 40, SERVED)
    yield Vector("in chunks, then another", message(CHUNKED, body=CHUNKS) + SMUGGLED, SERVED)
    yield Vector("nonsense behind it", whole + b"\x00\x01\x02\r\n\r\n", ANSWERED)
    yield Vector("blank lines behind it", whole + b"\r\n\r\n", SERVED)
    yield Vector("a plain request", whole, SERVED)
    yield Vector("HTTP/1.0", message(LENGTH, body=BODY, first=b"POST /v1/chat/completions HTTP/1.0"), LAST)
    yield Vector(
        "HTTP/1.0 without a host",
        message(LENGTH, body=BODY, first=b"POST /v1/chat/completions HTTP/1.0", host=b""),
        LAST,
    )


VECTORS: dict[str, Vector] = {
    f"{group}: {vector.name}": vector
    for group, vectors in (
        ("content-length", _lengths), ("transfer-encoding", _encodings), ("chunks", _chunks), ("version", _versions),
        ("first line", _first_lines), ("target", _targets), ("host", _hosts), ("upgrade", _upgrades),
        ("expect", _expectations), ("header", _lines), ("duplicate", _duplicates), ("size", _sizes),
        ("pipeline", _pipelines),
    )
    for vector in vectors()
}  # fmt: skip
