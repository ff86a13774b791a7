"""What clients are told of answers that are no conversation: vectors, rankings, and texts of Anthropic's first API; see
`adapters.unsaid`. Each dialect has clients of one kind, so a row says only whether they get the field.

What repeats the request, who served it, and what is billed of the tokens that are told is no loss.
"""

from __future__ import annotations

from adapters.unsaid import ALL, Looks, Shape, Told, every, only

_BILLED = Told(shape=every(ALL, "input_tokens", "image_tokens", "search_units"))
_META = Told(
    shape={
        "api_version": ALL,
        "billed_units": _BILLED,
        "tokens": Told(shape=every(ALL, "input_tokens", "image_tokens")),
    }
)
_COUNTED = Told(shape=every(ALL, "prompt_tokens", "total_tokens"))
_RANK = Told(shape=every(ALL, "index", "relevance_score", "document"))
_FLOATS = Told(shape={"float": ALL})
_WORDS = Told(kinds={"TEXT": Told(shape={"tokenCount": ALL})}, tag="modality")

COHERE_EMBED = Looks(
    {b"": {**every(ALL, "id", "response_type", "texts", "inputs"), "embeddings": _FLOATS, "meta": _META}}
)
BEDROCK_COHERE = Looks({b"": every(ALL, "id", "response_type", "texts", "inputs", "embeddings")})
COHERE_RERANK = Looks({b"": {"id": ALL, "results": _RANK, "meta": _META}})
VOYAGE_RERANK = Looks({b"": {**every(ALL, "object", "model"), "data": _RANK, "usage": _COUNTED}})
NOMIC = Looks({b"": {**every(ALL, "embeddings", "model"), "usage": _COUNTED}})
TITAN = Looks({b"": {**every(ALL, "embedding", "inputTextTokenCount"), "embeddingsByType": _FLOATS}})
GEMINI_BATCH = Looks(
    {
        b"": {
            "embeddings": Told(shape=every(ALL, "values", "shape")),
            "usageMetadata": Told(
                shape={**every(ALL, "promptTokenCount", "totalTokenCount"), "promptTokensDetails": _WORDS}
            ),
        }
    }
)
VERTEX_PREDICT = Looks(
    {
        b"": {
            "predictions": Told(
                shape={
                    "embeddings": Told(shape={"values": ALL, "statistics": Told(shape={"token_count": ALL})}),
                    **every(ALL, "textEmbedding", "imageEmbedding"),
                }
            ),
            "metadata": Told(shape={"billableCharacterCount": ALL}),
            **every(ALL, "deployedModelId", "model", "modelDisplayName", "modelVersionId"),
        }
    }
)
OPENAI_EMBEDDINGS = Looks(
    {
        b"": {
            **every(ALL, "id", "object", "created", "model"),
            "data": Told(shape=every(ALL, "object", "index", "embedding")),
            "usage": _COUNTED,
        }
    }
)
"""Of OpenAI's vectors, clients of other dialects."""

_TEXT: Shape = {
    **every(ALL, "type", "completion", "id", "log_id", "model"),
    "stop_reason": Told(words=every(ALL, "stop_sequence", "max_tokens")),
    "stop": only("\n\nHuman:"),
}
ANTHROPIC_COMPLETE = Looks({b"": _TEXT})
"""Whole ones, and the last event of a stream."""
