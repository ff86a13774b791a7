"""Which header fields pass, both ways."""

from __future__ import annotations

import pytest

from proxy import headers
from proxy.errors import Refused

CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization")
HOP_BY_HOP = (
    "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection", "content-length",
    "host", "expect",
)  # fmt: skip


def cases(name: str) -> tuple[bytes, ...]:
    return name.encode(), name.upper().encode(), name.title().encode(), name.swapcase().title().swapcase().encode()


def refused(*raw: tuple[bytes, bytes]) -> Refused:
    with pytest.raises(Refused) as caught:
        headers.read(raw)
    return caught.value


def test_names_are_read_in_any_case() -> None:
    for name in cases("x-portkey-config"):
        assert headers.read(((name, b"pc-1"),)) == {b"x-portkey-config": b"pc-1"}


def test_the_gateway_answers_to_both_of_its_prefixes() -> None:
    assert headers.read(((b"X-Loopway-Virtual-Key", b"a"),)) == {b"x-portkey-virtual-key": b"a"}


def test_fields_that_nobody_reads_are_not_kept() -> None:
    assert headers.read(((b"Cookie", b"a"), (b"X-Forwarded-For", b"b"), (b"X-Anything", b"c"))) == {}


@pytest.mark.parametrize("name", ["authorization", "x-portkey-api-key", "host", "content-length", "x-portkey-new"])
def test_a_field_that_counts_may_stand_there_once(name: str) -> None:
    for first in cases(name):
        for second in cases(name):
            answer = refused((first, b"a"), (second, b"a"))
            assert (answer.status, answer.close) == (400, True)
            assert answer.param == name


def test_two_spellings_of_one_field_are_two_of_it() -> None:
    assert refused((b"x-portkey-config", b"a"), (b"x-loopway-config", b"a")).param == "x-portkey-config"


def test_lists_are_joined_in_their_order() -> None:
    assert headers.read(((b"Accept", b"a"), (b"ACCEPT", b"b"))) == {b"accept": b"a, b"}


@pytest.mark.parametrize(
    "name", ["x_portkey_api_key", "X_LOOPWAY_CONFIG", "content_length", "Transfer_Encoding", "x-portkey_config"]
)
def test_an_underscore_where_a_dash_belongs_is_refused(name: str) -> None:
    assert refused((name.encode(), b"a")).close


def test_other_names_may_have_underscores() -> None:
    assert headers.read(((b"my_own_header", b"a"),)) == {}


def test_hostile_spellings_do_not_fill_the_memory() -> None:
    for number in range(10_000):
        headers.read(((b"x-nobody-%d" % number, b"a"),))
    assert len(headers._NAMES) <= headers._NAMES_KEPT


# -- towards the provider


def test_a_provider_gets_its_own_protocol_fields_and_no_others() -> None:
    found = {
        b"openai-beta": b"assistants=v2",
        b"anthropic-beta": b"tools",
        b"anthropic-version": b"2023-06-01",
        b"x-portkey-openai-project": b"p",
        b"idempotency-key": b"i",
        b"x-portkey-metadata": b"{}",
        b"x-portkey-api-key": b"secret",
        b"authorization": b"Bearer secret",
        b"traceparent": b"00-x",
    }
    assert headers.for_provider(found, "openai") == {
        b"openai-beta": b"assistants=v2",
        b"openai-project": b"p",
        b"idempotency-key": b"i",
    }
    assert headers.for_provider(found, "anthropic") == {
        b"anthropic-beta": b"tools",
        b"anthropic-version": b"2023-06-01",
        b"idempotency-key": b"i",
    }


def test_a_named_field_is_passed_on_as_it_came() -> None:
    raw = ((b"X-My", b"a"), (b"x-my", b"b"), (b"X-Other", b"c"))
    assert headers.forwarded((" x-MY ", ""), raw) == b"x-my: a\r\nx-my: b\r\n"


def test_a_named_field_may_come_where_the_sdks_put_it() -> None:
    assert headers.forwarded(("x-my",), ((b"x-portkey-x-my", b"a"),)) == b"x-my: a\r\n"


FORBIDDEN = (
    *CREDENTIALS,
    *HOP_BY_HOP,
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("metadata-flavor", "x-aws-ec2-metadata-token", "x-google-metadata-request"),
    *("content-type", "content-encoding", "accept-encoding"),
    *("x-portkey-api-key", "x-portkey-virtual-key", "x-portkey-config", "x-portkey-forward-headers"),
    *("x-loopway-api-key", "x-loopway-config"),
    *("proxy-authenticate", "set-cookie", "cookie2", "http2-settings", "content_length", "x_api_key", " host "),
)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_must_never_pass_cannot_be_asked_for(name: str) -> None:
    for spelled in cases(name):
        with pytest.raises(Refused) as caught:
            headers.forwarded((spelled.decode(),), ((spelled.strip(), b"secret"),))
        assert caught.value.status == 400
        assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["a b", "a:b", "a\r\nb", "a\x00", "ä", "a\tb", "(a)", "x" * 300])
def test_what_is_no_name_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(Refused):
        headers.forwarded((name,), ((name.encode("latin-1", "replace"), b"a"),))


# -- towards the client


def test_of_a_providers_answer_only_listed_fields_pass() -> None:
    raw = (
        (b"Content-Type", b"application/json"), (b"X-Request-Id", b"r"), (b"x-ratelimit-remaining-requests", b"1"),
        (b"anthropic-ratelimit-tokens-limit", b"2"), (b"Retry-After", b"3"), (b"Server", b"secret"),
        (b"X-Amzn-ErrorType", b"ThrottlingException"), (b"X-Amzn-Bedrock-Input-Token-Count", b"4"),
        (b"Set-Cookie", b"secret"), (b"openai-organization", b"secret"), (b"Connection", b"secret"),
        (b"x-portkey-trace-id", b"secret"), (b"Transfer-Encoding", b"secret"), (b"Content-Length", b"secret"),
        (b"Alt-Svc", b"secret"), (b"Location", b"secret"), (b"WWW-Authenticate", b"secret"), (b"Via", b"secret"),
        (b"Strict-Transport-Security", b"secret"), (b"Access-Control-Allow-Origin", b"secret"),
    )  # fmt: skip
    lines = headers.for_client(raw, headers.shape_of(raw), content_type=True)
    assert b"secret" not in lines
    assert lines.count(b"\r\n") == 7


def test_what_describes_a_body_goes_with_it() -> None:
    raw = ((b"Content-Type", b"text/plain"), (b"CONTENT-ENCODING", b"gzip"), (b"x-request-id", b"r"))
    assert headers.for_client(raw, headers.shape_of(raw), content_type=True).count(b"\r\n") == 3
    assert headers.for_client(raw, headers.shape_of(raw), content_type=False) == (
        b"x-request-id: r\r\nrequest-id: r\r\n"
    )


@pytest.mark.parametrize("name", ["request-id", "X-Request-Id", "x-amzn-RequestId", "apim-request-id"])
def test_every_sdk_finds_the_providers_number_of_a_translated_answer(name: str) -> None:
    raw = ((b"Retry-After", b"3"), (name.encode(), b"r-1"))
    lines = headers.for_client(raw, headers.shape_of(raw), content_type=False).lower()
    assert [lines.count(b"\r\n%b: r-1\r\n" % each) for each in (b"x-request-id", b"request-id")] == [1, 1]
    assert headers.for_client(raw, headers.shape_of(raw), content_type=True).count(b"r-1") == 1


@pytest.mark.parametrize("byte", [0, 10, 13])
def test_a_value_that_could_break_out_of_its_line_does_not_pass(byte: int) -> None:
    raw = ((b"x-request-id", b"a%cb" % byte),)
    assert headers.for_client(raw, headers.shape_of(raw), content_type=True) == b""


def test_a_value_is_found_whatever_its_case() -> None:
    raw = ((b"Retry-After", b"1"), (b"retry-after", b"2"))
    assert headers.shape_of(raw).value(raw, b"retry-after") == b"1"
    assert headers.shape_of(raw).value(raw, b"date") is None
