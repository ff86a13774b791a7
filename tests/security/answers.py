"""Answers that no provider should give, and what may become of each.

`{n}` stands for the length of the body. Whatever says POISON must reach nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from tests.fakes.upstream import End, Script, Step


class Fate(Enum):
    """What the client may get. Only what is `KEPT` leaves a connection that another request may use."""

    FAILED = "an error of the gateway's own: 502 or 504"
    CUT = "the same, or an answer that visibly breaks off"
    PASSED = "the answer, well-formed, as far as it can be trusted"
    KEPT = "the answer, and the connection is as good as before"
    TURNED = "an error of the gateway's own about a sound answer: the connection is as good as before"


FAILED, CUT, PASSED, KEPT, TURNED = Fate


class Hostile(NamedTuple):
    """`script` gives the steps for a body; `late` is sent once the client has its answer."""

    fate: Fate
    script: Callable[[bytes], Script]
    late: bytes = b""


def body_for(mark: str) -> bytes:
    """A body that is an answer in OpenAI's dialect and in Anthropic's."""
    return json.dumps(
        {
            "id": mark,
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": mark}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1, "prompt_tokens": 1, "completion_tokens": 1},
            "object": "chat.completion",
            "created": 1,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": mark}, "finish_reason": "stop"}],
        }
    ).encode()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECOND = OK + b'Content-Length: 21\r\n\r\n{"note":"a POISON  "}'


def good(body: bytes) -> list[Step]:
    """What a provider should say."""
    return [OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)]


def lines(*more: bytes, fate: Fate = FAILED, status: bytes = b"HTTP/1.1 200 OK", length: bool = False) -> Hostile:
    """An answer with these header lines; `length` adds a correct one."""

    def script(body: bytes) -> Script:
        head = [status, b"Content-Type: application/json", *more]
        if length:
            head.append(b"Content-Length: {n}")
        return [b"\r\n".join([*head, b"", b""]).replace(b"{n}", b"%d" % len(body)) + body]

    return Hostile(fate, script)


def first(status: bytes, fate: Fate = FAILED) -> Hostile:
    return lines(status=status, length=True, fate=fate)


def chunks(data: Callable[[bytes], bytes], fate: Fate = CUT, end: End | None = None) -> Hostile:
    """A chunked answer whose body is these very bytes."""
    return Hostile(
        fate, lambda body: [OK + b"Transfer-Encoding: chunked\r\n\r\n" + data(body), *([end] if end else [])]
    )


def raw(*steps: Step, fate: Fate = FAILED) -> Hostile:
    return Hostile(fate, lambda body: steps)


def behind(data: bytes, fate: Fate = CUT) -> Hostile:
    """A good answer, and more in the same write."""
    return Hostile(fate, lambda body: [b"".join(step for step in good(body) if isinstance(step, bytes)) + data])


def late(data: bytes) -> Hostile:
    """A good answer, and more once it has been taken."""
    return Hostile(PASSED, good, data)


def _chunked(body: bytes, trailer: bytes = b"", size: bytes | None = None, end: bytes = b"\r\n") -> bytes:
    return b"%b\r\n%b%b0\r\n%b\r\n" % (b"%x" % len(body) if size is None else size, body, end, trailer)


CL = b"Content-Length: {n}"
TE = b"Transfer-Encoding: chunked"

HOSTILE: dict[str, Hostile] = {
    # two lengths
    "length twice": lines(CL, CL),
    "length twice, differing": lines(CL, b"Content-Length: 5"),
    "length twice, zero first": lines(b"Content-Length: 0", CL),
    "length a list": lines(b"Content-Length: {n}, {n}"),
    "length and chunks": lines(CL, TE),
    "chunks and length": lines(TE, CL),
    "length and chunks, chunked": Hostile(
        FAILED, lambda body: [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(body)]
    ),
    "length negative": lines(b"Content-Length: -1"),
    "length with a plus": lines(b"Content-Length: +{n}"),
    "length in hex": lines(b"Content-Length: 0x10"),
    "length with a space": lines(b"Content-Length: {n} {n}"),
    "length empty": lines(b"Content-Length:", fate=CUT),
    "length a word": lines(b"Content-Length: many"),
    "length beyond 64 bits": lines(b"Content-Length: 18446744073709551620"),
    "length enormous": lines(b"Content-Length: " + b"9" * 300),
    "length with a vertical tab": lines(b"Content-Length: \x0b{n}"),
    "length then a space then colon": lines(b"Content-Length : {n}", fate=KEPT),
    "length too long, then the end": Hostile(
        CUT, lambda body: [OK + b"Content-Length: %d\r\n\r\n%b" % (len(body) + 9, body), End.FIN]
    ),
    "length too short": Hostile(CUT, lambda body: [OK + b"Content-Length: 5\r\n\r\n" + body]),
    # encodings
    "encoding unknown": lines(b"Transfer-Encoding: xchunked", length=True, fate=FAILED),
    "encoding gzip, chunked": Hostile(
        FAILED, lambda body: [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + _chunked(body)]
    ),
    "encoding chunked, identity": Hostile(
        FAILED, lambda body: [OK + b"Transfer-Encoding: chunked, identity\r\n\r\n" + _chunked(body), End.FIN]
    ),
    "encoding chunked twice": Hostile(
        FAILED, lambda body: [OK + b"%b\r\n%b\r\n\r\n" % (TE, TE) + _chunked(body), End.FIN]
    ),
    "encoding with a vertical tab": Hostile(
        FAILED, lambda body: [OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + _chunked(body), End.FIN]
    ),
    # chunks
    "chunk size a word": chunks(lambda body: _chunked(body, size=b"zz")),
    "chunk size negative": chunks(lambda body: _chunked(body, size=b"-5")),
    "chunk size with 0x": chunks(lambda body: _chunked(body, size=b"0x10")),
    "chunk size beyond 64 bits": chunks(lambda body: _chunked(body, size=b"f" * 17)),
    "chunk size empty": chunks(lambda body: _chunked(body, size=b"")),
    "chunk too long": chunks(lambda body: _chunked(body, size=b"5")),
    "chunk without an end": chunks(lambda body: _chunked(body, end=b"")),
    "chunks without the last": chunks(lambda body: b"%x\r\n%b\r\n" % (len(body), body), end=End.FIN),
    "chunks cut in a size": chunks(lambda body: b"%x\r\n%b\r\n1" % (len(body), body), end=End.FIN),
    "chunks cut in a chunk": chunks(lambda body: b"%x\r\n%b" % (len(body), body[:9]), end=End.FIN),
    "chunks reset": chunks(lambda body: b"%x\r\n%b" % (len(body), body[:9]), end=End.RST),
    "chunks with an extension": chunks(lambda body: _chunked(body, size=b"%x;x=POISON" % len(body)), fate=KEPT),
    "a trailer": chunks(lambda body: _chunked(body, b"X-Request-Id: POISON\r\n"), fate=KEPT),
    "a trailer that is a type": chunks(lambda body: _chunked(body, b"Content-Type: text/POISON\r\n"), fate=KEPT),
    "a trailer that asks to wait": chunks(lambda body: _chunked(body, b"Retry-After: 99\r\n"), fate=KEPT),
    "a trailer with a length": chunks(lambda body: _chunked(body, b"Content-Length: 1\r\n")),
    "a trailer with an encoding": chunks(lambda body: _chunked(body, b"Transfer-Encoding: chunked\r\n"), fate=KEPT),
    # heads
    "300 fields": lines(*(b"X-%d: y" % i for i in range(300)), length=True),
    "a field of 9 KB": lines(b"X: " + b"y" * 9000, length=True),
    "a field of 1 MB": lines(b"X: " + b"y" * 2**20, length=True),
    "a status line of 9 KB": first(b"HTTP/1.1 200 " + b"O" * 9000),
    "NUL in a value": lines(b"X-Request-Id: a\x00b", length=True),
    "NUL in a name": lines(b"X\x00Y: a", length=True),
    "a carriage return in a value": lines(b"X-Request-Id: a\rX-Evil: POISON", length=True, fate=FAILED),
    "line feeds only": Hostile(KEPT, lambda body: [good(body)[0].replace(b"\r\n", b"\n")]),  # type: ignore[union-attr]
    "carriage returns only": raw(OK.replace(b"\r\n", b"\r") + b"\r", End.FIN),
    "a folded field": lines(b"X-Request-Id: a\r\n folded", length=True, fate=KEPT),
    "a field without a colon": lines(b"nothing here", length=True),
    "a field without a name": lines(b": POISON", length=True),
    "a space before the colon": lines(b"X-Request-Id : POISON", length=True, fate=CUT),
    "a type with a line end": lines(b"X-Request-Id: a\nSet-Cookie: POISON", length=True, fate=KEPT),
    # status lines
    "HTTP/0.9": raw(b"<html>POISON</html>", End.FIN),
    "HTTP/2.0": first(b"HTTP/2.0 200 OK"),
    "HTTP/1.9": first(b"HTTP/1.9 200 OK"),
    "HTTP/1.0": first(b"HTTP/1.0 200 OK", PASSED),
    "another protocol": first(b"ICY 200 OK"),
    "small letters": first(b"http/1.1 200 OK"),
    "no status": first(b"HTTP/1.1"),
    "a status of letters": first(b"HTTP/1.1 abc OK"),
    "a status of two digits": first(b"HTTP/1.1 20 OK"),
    "a status of four digits": first(b"HTTP/1.1 2000 OK"),
    "status 000": first(b"HTTP/1.1 000 OK"),
    "status 099": first(b"HTTP/1.1 099 OK"),
    "status 600": first(b"HTTP/1.1 600 OK"),
    "status 999": first(b"HTTP/1.1 999 OK"),
    "no reason": first(b"HTTP/1.1 200", KEPT),
    "a strange reason": first(b"HTTP/1.1 200 <b>POISON</b>", KEPT),
    "TLS": raw(b"\x15\x03\x01\x00\x02\x02\x28", End.FIN),
    "SSH": raw(b"SSH-2.0-POISON\r\n", End.FIN),
    "nothing but line ends": raw(b"\r\n\r\n\r\n", End.FIN),
    # interim answers and upgrades
    "100 once": Hostile(KEPT, lambda body: [b"HTTP/1.1 100 Continue\r\n\r\n", *good(body)]),
    "103 with fields": Hostile(KEPT, lambda body: [b"HTTP/1.1 103 Early Hints\r\nLink: POISON\r\n\r\n", *good(body)]),
    "100 without end": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "100 with a body": Hostile(
        CUT, lambda body: [b"HTTP/1.1 100 Continue\r\nContent-Length: 6\r\n\r\nPOISON", *good(body)]
    ),
    "100 and the end": raw(b"HTTP/1.1 100 Continue\r\n\r\n", End.FIN),
    "101": lines(b"Connection: upgrade", b"Upgrade: websocket", status=b"HTTP/1.1 101 Switching Protocols"),
    "101 without a word": raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\nPOISON"),
    "200 with an upgrade": lines(b"Connection: upgrade", b"Upgrade: h2c", length=True, fate=KEPT),
    # bodies where none belongs
    "204 with a body": lines(status=b"HTTP/1.1 204 No Content", length=True, fate=CUT),
    "204 in chunks": Hostile(CUT, lambda body: [b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % TE + _chunked(b"POISON")]),
    "304 with a body": lines(status=b"HTTP/1.1 304 Not Modified", length=True),
    "205 with a body": lines(status=b"HTTP/1.1 205 Reset Content", length=True, fate=KEPT),
    # more than was asked for
    "a word behind": behind(b"POISON"),
    "a line behind": behind(b"\r\n", fate=KEPT),
    "a second answer behind": behind(SECOND),
    "ten answers behind": behind(SECOND * 10),
    "half an answer behind": behind(SECOND[:30]),
    "a letter of an answer behind": behind(b"H"),
    "a line and a letter behind": behind(b"\r\nH"),
    "half an answer behind chunks": chunks(lambda body: _chunked(body) + SECOND[:60]),
    "a word later": late(b"POISON"),
    "a line later": late(b"\r\n"),
    "a second answer later": late(SECOND),
    "408 later": late(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\nConnection: close\r\n\r\nPOISON"),
    "100 later": late(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the beginning of an answer later": late(SECOND[:30]),
    # ends
    "nothing and FIN": raw(End.FIN),
    "nothing and RST": raw(End.RST),
    "half a head and FIN": raw(OK[:20], End.FIN),
    "half a head and RST": raw(OK[:20], End.RST),
    "a head and FIN": raw(OK + b"Content-Length: 10\r\n\r\n", End.FIN, fate=CUT),
    "a head and RST": raw(OK + b"Content-Length: 10\r\n\r\n", End.RST, fate=CUT),
    "a body cut": raw(OK + b"Content-Length: 100\r\n\r\nhalf", End.FIN, fate=CUT),
    "a body reset": raw(OK + b"Content-Length: 100\r\n\r\nhalf", End.RST, fate=CUT),
    "silence": raw(),
    "half a head and silence": raw(OK[:20]),
    "half a body and silence": raw(OK + b"Content-Length: 100\r\n\r\nhalf", fate=CUT),
    "a body that ends with its connection": Hostile(PASSED, lambda body: [OK + b"\r\n" + body, End.FIN]),
    "an answer and FIN": Hostile(PASSED, lambda body: [*good(body), End.FIN]),
    "Connection: close": lines(b"Connection: close", length=True, fate=PASSED),
    # elsewhere
    "301": lines(b"Location: http://127.0.0.1:1/POISON", status=b"HTTP/1.1 301 Moved", length=True, fate=TURNED),
    "302": lines(b"Location: http://127.0.0.1:1/POISON", status=b"HTTP/1.1 302 Found", length=True, fate=TURNED),
    "303": lines(b"Location: //POISON", status=b"HTTP/1.1 303 See Other", length=True, fate=TURNED),
    "307": lines(b"Location: http://127.0.0.1:1/POISON", status=b"HTTP/1.1 307 Temporary", length=True, fate=TURNED),
    "308": lines(b"Location: /POISON", status=b"HTTP/1.1 308 Permanent", length=True, fate=TURNED),
}
