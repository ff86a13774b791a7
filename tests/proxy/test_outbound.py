"""What becomes of a body on its way to a provider."""

from __future__ import annotations

import json

import pytest

from proxy import outbound


def test_a_stream_is_asked_for_its_usage_and_keeps_its_other_options() -> None:
    counted = outbound.counted(b'{"stream":true,"stream_options":{"include_obfuscation":false}}')
    assert json.loads(counted)["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("options", [b'{"a":"\xff"}', b"3"])
def test_options_that_nobody_can_read_are_left_to_the_provider(options: bytes) -> None:
    body = b'{"stream":true,"stream_options":%b}' % options
    assert outbound.counted(body) == body
