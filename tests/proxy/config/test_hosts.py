"""Which custom hosts are right in form."""

from __future__ import annotations

import pytest

from proxy.config.hosts import fault


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://10.1.2.3:8000",
        "http://localhost:11434/v1",
        "http://[::1]:8000/v1",
        "http://vllm_server:8000/v1",
        "HTTPS://API.EXAMPLE.COM",
    ],
)
def test_public_and_private_hosts_are_right_in_form(url: str) -> None:
    assert fault(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "http://",
        "http://user:secret@example.com",
        "http://example.com/#x",
        "http://example.com/?x",
        "http://exa mple.com",
        "http://example.com\r\nhost: x",
        "http://exämple.com",
        "http://example.com.",
        "http://a..b",
        "http://a.b.c.d.e.f.g.h.i.j.k",
        "http://example.com:99999",
        "http://example.com:0",
        "http://2130706433",
        "http://0x7f.0.0.1",
        "http://127.1",
        "http://169.254.169.254",
        "http://[::ffff:169.254.169.254]",
        "http://[fd00:ec2::254]",
        "http://[fe80::1%25eth0]",
        "http://metadata.google.internal/computeMetadata",
        "http://169.254.170.2",
        "http://[::1",
        "https://example.com/" + "x" * 3000,
    ],
)
def test_ambiguous_dangerous_and_malformed_hosts_are_refused_without_being_repeated(url: str) -> None:
    message = fault(url)
    assert message
    assert "secret" not in message
