from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import openai_errors
from adapters.errors import Kind, UpstreamError
from tests.adapters import recordings


def read(status: int, body: Any) -> UpstreamError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return openai_errors.read(status, {}, raw)


def test_openais_own_shape() -> None:
    error = {"message": "No such model.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    assert read(404, {"error": error}) == UpstreamError(
        Kind.NOT_FOUND, 404, "No such model.", "invalid_request_error", "model_not_found", "model"
    )


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"error": "Wrong."}, "Wrong.", None),
        ({"error": "bad", "message": "Wrong.", "param": "stop"}, "Wrong.", "stop"),
        ({"error": {"detail": "Wrong."}}, "Wrong.", None),
        ({"error": {"message": {"why": "x"}}}, '{"why":"x"}', None),
        ({"error": {"metadata": 1}}, '{"metadata":1}', None),
        ({"message": "Wrong.", "type": "x"}, "Wrong.", None),
        ({"object": "error", "message": "Wrong.", "code": 40001}, "Wrong.", None),
        ({"detail": "Wrong."}, "Wrong.", None),
        ({"detail": {"message": "Wrong."}}, "Wrong.", None),
        (
            {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Field required", "type": "missing"}]},
            "messages[0].role: Field required",
            "messages[0].role",
        ),
        ({"detail": ["a", {"msg": "b"}]}, "a; b", None),
        ({"errors": [{"message": "Wrong.", "code": 7003}]}, "Wrong.", None),
        ({"errors": ["a", "b"]}, "a; b", None),
        ({"errors": {"stop": ["too long"]}}, '{"stop":["too long"]}', None),
        ({"errors": "Wrong."}, "Wrong.", None),
        ({"msg": "Wrong."}, "Wrong.", None),
        ([{"error": {"message": "Wrong.", "code": 400}}], "Wrong.", None),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "Wrong."}}, "Wrong.", None),
        ("Wrong.", "Wrong.", None),
        (b"Wrong.\n", "Wrong.", None),
        (b"upstream connect error\r\nor disconnect", "upstream connect error or disconnect", None),
        (b"", "The provider answered with status 400 and no message.", None),
        (b"{}", "{}", None),
        (
            b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head></html>",
            "The provider answered with an HTML page: 502 Bad Gateway",
            None,
        ),
        (b"<html></html>", "The provider answered with an HTML page.", None),
    ],
)
def test_every_shape_gives_its_message(body: Any, message: str, param: str | None) -> None:
    error = read(400, body)
    assert (error.kind, error.status, error.message, error.param) == (Kind.INVALID_REQUEST, 400, message, param)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_REQUEST),
        (401, Kind.UNAUTHENTICATED),
        (403, Kind.FORBIDDEN),
        (404, Kind.NOT_FOUND),
        (408, Kind.TIMEOUT),
        (413, Kind.TOO_LARGE),
        (422, Kind.INVALID_REQUEST),
        (429, Kind.RATE_LIMITED),
        (500, Kind.BAD_UPSTREAM),
        (503, Kind.OVERLOADED),
        (529, Kind.OVERLOADED),
    ],
)
def test_the_status_says_the_kind(status: int, kind: Kind) -> None:
    assert read(status, {"error": {"message": "x", "code": None}}).kind is kind


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"code": "insufficient_quota"}, Kind.QUOTA_EXCEEDED),
        (429, {"type": "insufficient_quota"}, Kind.QUOTA_EXCEEDED),
        (413, {"code": "context_length_exceeded"}, Kind.INVALID_REQUEST),
        (400, {"code": "content_filter"}, Kind.CONTENT_FILTERED),
        (400, {"innererror": {"code": "ResponsibleAIPolicyViolation"}}, Kind.CONTENT_FILTERED),
        (413, {"code": "rate_limit_exceeded"}, Kind.TOO_LARGE),
    ],
)
def test_a_telling_code_goes_before_the_status_which_is_kept(status: int, error: dict[str, Any], kind: Kind) -> None:
    found = read(status, {"error": {"message": "x", **error}})
    assert (found.kind, found.status) == (kind, status)


def test_numeric_codes_become_text() -> None:
    assert read(400, {"error": {"message": "x", "code": 1210}}).code == "1210"


def test_a_long_message_is_cut() -> None:
    assert len(read(500, b"x" * 100_000).message) == 2000


@pytest.mark.parametrize(
    ("event", "kind", "status"),
    [
        ({"error": {"message": "x", "code": 429}}, Kind.RATE_LIMITED, 429),
        ({"error": {"message": "x", "code": "429"}, "choices": []}, Kind.RATE_LIMITED, 429),
        ({"error": {"message": "x", "type": "overloaded_error"}}, Kind.OVERLOADED, 503),
        ({"error": {"message": "x", "code": "rate_limit_exceeded"}}, Kind.RATE_LIMITED, 429),
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, Kind.INVALID_REQUEST, 400),
        ({"error": {"message": "x", "code": "9" * 5000}}, Kind.BAD_UPSTREAM, 502),
        ({"object": "error", "message": "x", "type": "rate_limited", "code": "1300"}, Kind.RATE_LIMITED, 429),
        ({"status": "failed", "error": {"message": "x", "code": "invalid_prompt"}}, Kind.INVALID_REQUEST, 400),
        ({"status": "failed", "error": {"message": "x", "code": "bio_policy"}}, Kind.CONTENT_FILTERED, 400),
        ([{"error": {"message": "x", "code": 429}}], Kind.RATE_LIMITED, 429),
        ({"choices": [{"finish_reason": "error", "error": {"message": "x", "code": 429}}]}, Kind.RATE_LIMITED, 429),
        ({"error": "x"}, Kind.BAD_UPSTREAM, 502),
        ({"object": "error", "message": "x", "code": 400}, Kind.INVALID_REQUEST, 400),
    ],
)
def test_errors_within_a_stream_or_under_a_200(event: Any, kind: Kind, status: int) -> None:
    error = openai_errors.read_event(json.dumps(event).encode())
    assert error is not None
    assert (error.kind, error.status, error.message) == (kind, status, "x")


@pytest.mark.parametrize(
    "event", [b'{"choices": [], "message": "x"}', b'{"error": null, "choices": []}', b"{}", b'{"id": 1}', b"[1]", b"x"]
)
def test_an_event_without_an_error_is_none(event: bytes) -> None:
    assert openai_errors.read_event(event) is None


names = st.sampled_from(["error", "errors", "message", "detail", "code", "type", "param", "loc", "msg", "innererror"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=50) | values.map(lambda value: json.dumps(value).encode()), st.sampled_from([301, 400, 500]))
def test_nothing_makes_it_raise(body: bytes, status: int) -> None:
    assert openai_errors.read(status, {}, body).message
    openai_errors.read_event(body)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error":' * 100_000, b'{"error":' + b"[" * 800 + b"]" * 800 + b"}"]
)
def test_deep_nesting_does_not_make_it_raise(body: bytes) -> None:
    assert openai_errors.read(500, {}, body).kind is Kind.BAD_UPSTREAM


RECORDED = [each for each in recordings.exchanges("/chat/completions") if each.status >= 400]


@pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")
@pytest.mark.parametrize("each", RECORDED, ids=[each.name for each in RECORDED])
def test_recorded_errors_keep_their_message(each: recordings.Exchange) -> None:
    error = read(each.status, each.response)
    assert error.message == each.response["error"]["message"]
    assert error.status == each.status
