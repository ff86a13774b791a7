"""Which clients are told what of Gemini's answers; see `adapters.unsaid`."""

from __future__ import annotations

from adapters.gemini.wire import FILTERS
from adapters.unsaid import ALL, BLOCKS, CHAT, ITEMS, MESSAGES, SHOWING, SPEAKING, TEXT, Looks, Shape, Told, every, only

_LIKELY = CHAT | ITEMS
_PLACING = CHAT | ITEMS
"""Messages have a source's text, but not its place in the answer."""

_FINISH = Told(
    words={
        **every(ALL, "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS"),
        **every(ALL, *FILTERS),
    },
    others=BLOCKS,
)

_PLAIN = {"Model generated function call(s).": ALL}

_PART: Shape = {
    "text": ALL,
    "thought": SHOWING,
    "thoughtSignature": SHOWING,
    "functionCall": Told(
        SPEAKING, {**every(SPEAKING, "id", "name", "args"), **every(SPEAKING, "partialArgs", "willContinue")}
    ),
    "inlineData": Told(SHOWING, {**every(SHOWING, "mimeType", "data")}),
    **every(SHOWING, "executableCode", "codeExecutionResult", "fileData", "functionResponse"),
    **every(SHOWING, "toolCall", "toolResponse"),
}

_PAGE = Told(SPEAKING, {**every(SPEAKING, "uri", "title", "domain")})

_GROUNDING = Told(
    SPEAKING,
    {
        "groundingChunks": Told(SPEAKING, {**dict.fromkeys(("web", "maps", "retrievedContext"), _PAGE)}),
        "groundingSupports": Told(
            SPEAKING,
            {
                # Its text is the answer's, between the two places.
                "segment": Told(SPEAKING, {**every(_PLACING, "startIndex", "endIndex"), "text": ALL}),
                "groundingChunkIndices": SPEAKING,
            },
        ),
    },
    whole=BLOCKS,
)

_CITED: Shape = {**every(_PLACING, "startIndex", "endIndex"), **every(SPEAKING, "uri", "title")}

_CHANCES: Shape = {**every(_LIKELY, "token", "logProbability", "tokenId")}

_COUNTED = Told(CHAT | TEXT, {"tokenCount": CHAT | TEXT})
_WORDS = Told(shape={"tokenCount": ALL})  # the rest of all
_READ = Told(kinds={"TEXT": _WORDS, "AUDIO": _COUNTED, "IMAGE": _COUNTED}, tag="modality")
_MADE = Told(kinds={"TEXT": _WORDS, "AUDIO": _COUNTED}, tag="modality")

_ANSWER: Shape = {
    "candidates": Told(
        shape={
            "index": ALL,
            "content": Told(shape={"role": ALL, "parts": Told(shape=_PART)}),
            "finishReason": _FINISH,
            # Of a filter it is told as what refuses.
            "finishMessage": Told(words=_PLAIN, beside=("finishReason", frozenset(FILTERS))),
            "tokenCount": ALL,
            "groundingMetadata": _GROUNDING,
            "citationMetadata": Told(
                SPEAKING, {**dict.fromkeys(("citations", "citationSources"), Told(SPEAKING, _CITED))}
            ),
            "logprobsResult": Told(
                _LIKELY,
                {
                    "chosenCandidates": Told(_LIKELY, _CHANCES),
                    "topCandidates": Told(_LIKELY, {"candidates": Told(_LIKELY, _CHANCES)}),
                },
            ),
        },
        first_to=ITEMS | MESSAGES,
    ),
    "promptFeedback": Told(
        shape={"blockReason": Told(words={"SAFETY": ALL}, others=BLOCKS), "blockReasonMessage": ALL}
    ),
    "usageMetadata": Told(
        shape={
            **every(ALL, "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount"),
            **every(ALL, "toolUsePromptTokenCount", "cachedContentTokenCount"),
            "promptTokensDetails": _READ,
            "candidatesTokensDetails": _MADE,
            **dict.fromkeys(
                ("cacheTokensDetails", "toolUsePromptTokensDetails"),
                Told(kinds={"TEXT": _WORDS}, tag="modality"),
            ),
            "trafficType": only("ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED"),
            "serviceTier": Told(
                words={**every(ALL, "standard", "unspecified"), "flex": CHAT | ITEMS, "priority": SPEAKING}
            ),
        }
    ),
    **every(ALL, "modelVersion", "responseId", "createTime"),
}

ANSWERS = Looks({b"": _ANSWER})
"""Whole ones and events, which are of the same form."""
