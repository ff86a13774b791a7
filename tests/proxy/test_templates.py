"""Addresses with placeholders, compiled: what a row, its fields and a model make of them."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import auth
from adapters.errors import InvalidRequest
from adapters.provider import Fields, Provider
from adapters.types import Dialect
from proxy.config.access import Access
from proxy.config.target import Target
from proxy.errors import Refused

CHAT = Dialect.OPENAI_CHAT
ROW = Provider(
    name="cloud",
    base_url="https://{azure_resource_name}.cloud.example/v1/projects/{vertex_project_id}",
    key_env="",
    docs="",
    auth=auth.bearer,
    paths={CHAT: "/{model}/chat?api-version={azure_api_version}", Dialect.OPENAI_EMBEDDINGS: "/embed"},
    stream_paths={CHAT: "/{model}/chat:stream"},
    only={Dialect.OPENAI_EMBEDDINGS: ("embed-*",)},
    defaults=(("azure_api_version", "1"),),
)
FIELDS = {"azure_resource_name": "acme", "vertex_project_id": "p 1"}


def target(row: Provider = ROW, fields: Fields = FIELDS, **more: Any) -> Target:
    return Target(Access(row, "sk", fields=fields, **more))


def line(target: Target, model: str = "m", *, client: Dialect = CHAT, streamed: bool = False) -> str:
    wire = target.wire_for(client, model, streamed)
    assert wire is not None
    assert wire.head.startswith(f"POST {wire.path} HTTP/1.1\r\n".encode())
    return wire.path


def test_fields_fill_the_address_and_defaults_stand_in_for_them() -> None:
    made = target()
    assert (made.origin.host, made.base_path) == ("acme.cloud.example", "/v1/projects/p%201")
    assert line(made) == "/v1/projects/p%201/m/chat?api-version=1"
    assert line(target(fields={**FIELDS, "azure_api_version": "2&x=/"})).endswith("?api-version=2%26x%3D%2F")


def test_the_model_is_one_segment_of_the_path_whatever_is_in_it() -> None:
    assert line(target(), "arn:aws:x/y:0?#").startswith("/v1/projects/p%201/arn%3Aaws%3Ax%2Fy%3A0%3F%23/chat")
    assert line(target(), "a\r\nx: y").startswith("/v1/projects/p%201/a%0D%0Ax%3A%20y/")
    for model in ("..", ".", "m" * 3000):
        with pytest.raises(Refused):
            target().wire_for(CHAT, model)


def test_streamed_calls_have_a_path_of_their_own() -> None:
    made = target()
    assert line(made, streamed=True).endswith("/m/chat:stream")
    assert line(made, streamed=False).endswith("/m/chat?api-version=1")


def test_a_dialect_may_be_for_some_models_only() -> None:
    made = target()
    assert line(made, "embed-1", client=Dialect.OPENAI_EMBEDDINGS).endswith("/embed")
    assert made.wire_for(Dialect.OPENAI_EMBEDDINGS, "other") is None


def test_heads_are_kept_for_a_bounded_number_of_models() -> None:
    made = target()
    first = made.wire_for(CHAT, "m-0")
    assert made.wire_for(CHAT, "m-0") is first
    for n in range(1000):
        made.wire_for(CHAT, f"m-{n}")
    assert len(made._of_models) <= 256
    assert made.wire_for(CHAT, "m-0") is not first


def test_a_missing_field_is_named_with_the_header_that_would_give_it() -> None:
    with pytest.raises(Refused, match="x-portkey-azure-resource-name") as refused:
        target(fields={"vertex_project_id": "p"})
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["evil.example/", "a@b", "a:1", "a..b", "", "-a", "a\r\nb", "a?b", "x" * 300, "ä"])
def test_a_field_in_a_host_name_stays_in_its_label(name: str) -> None:
    with pytest.raises(Refused):
        target(fields={**FIELDS, "azure_resource_name": name})


def test_a_custom_host_needs_no_field_of_the_rows_own() -> None:
    made = target(fields={"vertex_project_id": "p"}, custom_host="http://127.0.0.1:9")
    assert (made.origin.host, made.base_path) == ("127.0.0.1", "/v1/projects/p")
    assert target(fields={}, custom_host="http://127.0.0.1:9/else").base_path == "/else"


def test_a_variant_of_the_row_may_follow_from_the_fields() -> None:
    def variant(row: Provider, fields: Fields) -> Provider:
        if fields.get("azure_api_version") == "bad":
            raise InvalidRequest("no such version", "azure_api_version")
        plain = Provider(name=row.name, base_url="https://else.example/v2", key_env="", docs="", paths={CHAT: "/chat"})
        return plain if fields.get("azure_api_version") == "v1" else row

    row = Provider(**{name: getattr(ROW, name) for name in ROW.__struct_fields__} | {"variant": variant})
    assert line(target(row, {"azure_api_version": "v1"})) == "/v2/chat"
    assert line(target(row)).startswith("/v1/projects")
    with pytest.raises(Refused, match="no such version"):
        target(row, {"azure_api_version": "bad"})
