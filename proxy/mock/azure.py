"""Azure OpenAI: the mock's OpenAI answers below deployments and the `v1` API, with Azure's credential check, its first
chunk without choices, and its content filter's results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, unquote

import msgspec

from proxy.mock import openai, openai_more, responses
from proxy.mock.answer import Answer, Family, Incoming, Refusal, Route, Stream, bearer, encode

_PLACE = re.compile(r"/openai/(?:deployments/(?P<deployment>[^/]+)|v1)(?P<path>/[a-z/]+)")
_ANSWERS: dict[str, Callable[[Incoming], Answer]] = {
    "/chat/completions": openai.chat,
    "/completions": openai.completions,
    "/embeddings": openai_more.embeddings,
}
_RESPONSES = re.compile(r"/openai/(v1/)?responses")
_SAFE = {"hate": {"filtered": False, "severity": "safe"}}
_FIRST = b"data: %b\n\n" % encode(
    {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
    }
)


def place(path: str) -> tuple[Route, str] | None:
    """Who answers a path, and the model that it names; None for a path that is not Azure's."""
    if _RESPONSES.fullmatch(path):
        return Route(FAMILY, _versioned(responses.responses, path), outside=True), ""
    found = _PLACE.fullmatch(path)
    answer = None if found is None else _ANSWERS.get(found["path"])
    if found is None or answer is None:
        return None
    return Route(FAMILY, _versioned(answer, path), outside=True), unquote(found["deployment"] or "")


def _versioned(answer: Callable[[Incoming], Answer], path: str) -> Callable[[Incoming], Answer]:
    def checked(incoming: Incoming) -> Answer:
        if not path.startswith("/openai/v1/") and "api-version" not in parse_qs(incoming.query):
            raise Refusal(404, "Resource not found", code="404")
        made = answer(incoming)
        if isinstance(made, Stream) and path.endswith("/chat/completions"):
            return msgspec.structs.replace(made, events=_filtered(made))
        return made

    return checked


def _filtered(made: Stream) -> Iterator[bytes]:
    yield _FIRST
    yield from made.events


def authenticate(headers: Mapping[str, str]) -> None:
    """Wants the resource's key in `api-key`, or a token; one that begins with `invalid` is refused. Raises Refusal."""
    key = headers.get("api-key", "") or bearer(headers)
    if not key or key.startswith("invalid"):
        message = "Access denied due to invalid subscription key or wrong API endpoint."
        raise Refusal(401, message, code="401")


FAMILY = Family(
    render=openai.render, headers=openai.FAMILY.headers, authenticate=authenticate, refusal=openai.FAMILY.refusal
)
