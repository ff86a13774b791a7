"""Signatures, against the signer of AWS's own SDK."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import sigv4

botocore_auth = pytest.importorskip("botocore.auth")
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

WHEN = "20261125T230000Z"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "bedrock-runtime.us-east-1.amazonaws.com"


def theirs(method: str, path: str, content_type: str, body: bytes, token: str, monkeypatch: pytest.MonkeyPatch) -> str:
    class Now(datetime.datetime):
        @classmethod
        def utcnow(cls) -> Any:
            return datetime.datetime(2026, 11, 25, 23)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime(2026, 11, 25, 23, tzinfo=tz)

    monkeypatch.setattr(botocore_auth, "get_current_datetime", lambda: datetime.datetime(2026, 11, 25, 23), False)
    monkeypatch.setattr(botocore_auth.datetime, "datetime", Now, False)
    headers = {"content-type": content_type} if content_type else {}
    request = AWSRequest(method, f"https://{HOST}{path}", headers=headers, data=body)
    request.headers["X-Amz-Content-SHA256"] = __import__("hashlib").sha256(body).hexdigest()
    botocore_auth.SigV4Auth(Credentials("AKID", SECRET, token or None), "bedrock", "us-east-1").add_auth(request)
    assert request.headers["X-Amz-Date"] == WHEN
    return str(request.headers["Authorization"])


def ours(method: str, path: str, content_type: str, body: bytes, token: str = "") -> dict[str, str]:
    key = sigv4.signing_key(SECRET, WHEN[:8], "us-east-1", "bedrock")
    scope = ("us-east-1", "bedrock")
    return dict(sigv4.sign(key, "AKID", scope, WHEN, method, HOST, path, content_type, body, token))


CASES = {
    "a model with a colon": ("POST", "/model/anthropic.claude-v2%3A0/converse", "application/json", b"{}", ""),
    "an ARN": (
        "POST",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a/invoke",
        "application/json",
        b"{}",
        "",
    ),
    "a session": ("POST", "/model/a/converse-stream", "application/json", b'{"a":"\xc3\xa4"}', "tok/en+=="),
    "no body": ("GET", "/foundation-models", "", b"", ""),
    "a query": ("GET", "/x?b=2&a=1&c", "", b"", ""),
    "odd characters": ("GET", "/a:b=c@d/~e(f)*", "", b"", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_signatures_are_those_of_the_sdk(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, path, content_type, body, token = CASES[case]
    found = ours(method, path, content_type, body, token)
    assert found["authorization"] == theirs(method, path, content_type, body, token, monkeypatch)
    assert found.get("x-amz-security-token", "") == token
    assert SECRET not in str(found)


@given(st.text(alphabet="abcXYZ019-_.~:/%", max_size=30), st.binary(max_size=50))
def test_any_path_and_body_are_signed_alike(path: str, body: bytes) -> None:
    path = f"/{path}".replace("%", "%25").replace("/", "/x")  # no empty and no dotted segments
    with pytest.MonkeyPatch.context() as patch:
        expected = theirs("POST", path, "application/json", body, "", patch)
    assert ours("POST", path, "application/json", body)["authorization"] == expected
