"""The inference routes: the dialects that clients speak, the model list, and everything else below /v1."""

from __future__ import annotations

from adapters.types import Dialect
from proxy.capabilities import ROUTES as CAPABILITIES
from proxy.models import list_models, one_gemini_model, one_model
from proxy.routes import Route


def _speaks(path: str, dialect: Dialect, summary: str) -> Route:
    return Route(method="POST", path=path, scope="completions.write", summary=summary, dialect=dialect, body="json")


def _names(version: str, verb: str, dialect: Dialect, summary: str) -> Route:
    return Route(
        method="POST",
        path=f"/{version}/models/{{model*}}:{verb}",
        scope="completions.write",
        summary=summary,
        dialect=dialect,
        body="json",
        named=True,
    )


_GEMINI = (
    ("generateContent", Dialect.GEMINI_GENERATE, "An answer, Gemini's dialect"),
    ("streamGenerateContent", Dialect.GEMINI_GENERATE, "A streamed answer, Gemini's dialect"),
    ("countTokens", Dialect.GEMINI_COUNT_TOKENS, "Count tokens, Gemini's dialect"),
    ("embedContent", Dialect.GEMINI_EMBED, "One embedding, Gemini's dialect"),
    ("batchEmbedContents", Dialect.GEMINI_BATCH_EMBED, "Embeddings, Gemini's dialect"),
)


def _passes(method: str, path: str) -> Route:
    return Route(
        method=method,
        path=path,
        scope="completions.write",
        summary="Passed through to the addressed provider with its stored credential",
        dialect=Dialect.PASSTHROUGH,
        body="none" if method == "GET" else "stream",
        tag="passthrough",
    )


ROUTES: tuple[Route, ...] = (
    _speaks("/v1/chat/completions", Dialect.OPENAI_CHAT, "Chat completions, OpenAI's dialect"),
    _speaks("/v1/completions", Dialect.OPENAI_COMPLETIONS, "Text completions, OpenAI's dialect"),
    _speaks("/v1/responses", Dialect.OPENAI_RESPONSES, "Responses, OpenAI's dialect"),
    _speaks("/v1/embeddings", Dialect.OPENAI_EMBEDDINGS, "Embeddings, OpenAI's dialect"),
    _speaks("/v1/rerank", Dialect.RERANK, "Documents ranked by a query"),
    _speaks("/v1/messages", Dialect.ANTHROPIC_MESSAGES, "Messages, Anthropic's dialect"),
    _speaks("/v1/messages/count_tokens", Dialect.ANTHROPIC_COUNT_TOKENS, "Count tokens, Anthropic's dialect"),
    Route(
        method="GET",
        path="/v1/models",
        scope="models.list",
        summary="The models this key may use, as @slug/model",
        handler=list_models,
        exchange=True,
    ),
    Route(
        method="GET",
        path="/v1/models/@{model*}",
        scope="models.list",
        summary="One of them",
        handler=one_model,
        exchange=True,
    ),
    *CAPABILITIES,
    *(
        Route(
            method="GET",
            path=path,
            scope="models.list",
            summary="The same as Gemini's clients read it",
            handler=handler,
            exchange=True,
        )
        for path, handler in (("/v1beta/models", list_models), ("/v1beta/models/{model*}", one_gemini_model))
    ),
    *(_names(version, *row) for version in ("v1beta", "v1") for row in _GEMINI),
    *(
        _passes(method, f"/{version}/{{rest*}}")
        for version in ("v1", "v1beta", "v1beta1")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
)
