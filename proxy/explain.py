"""What would happen to a request: the plan as a tree, the target it would reach, and why no other.

Everything is asked of the code that would do it (routing, strategies, allow-lists, codecs, cache), and nothing is
called, counted or drawn. So an explanation is true of this moment in this worker: permits held, answers kept and
breakers open are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic, time
from typing import Any, cast

import msgspec

from adapters.errors import InvalidRequest, Kind
from adapters.peek import peek
from adapters.types import Dialect, in_words
from proxy import outbound, routing
from proxy.admin.body import parse, read
from proxy.cache.answers import AnswerCache
from proxy.config.facts import Facts
from proxy.config.leaf import Leaf
from proxy.config.nodes import model_slug
from proxy.config.snapshot import Key, Snapshot
from proxy.config.verdict import State, Verdict
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.inference import ROUTES as INFERENCE
from proxy.outcome import invalid
from proxy.routes import AdminContext, AdminRequest, Answer, Route

DIALECTS: dict[str, Dialect] = {
    route.path: route.dialect
    for route in INFERENCE
    if route.dialect is not None and route.dialect is not Dialect.PASSTHROUGH
}
"""The paths that can be explained, and what is spoken there."""


class Prospect(msgspec.Struct, omit_defaults=True):
    """One node of the plan before this request. `state` is chosen, possible, next or not; `reason` says why.

    The rest is a target's: `refused` is what stops a request there, `dropped` names what would not survive
    translation, `cache` is what a look-up would find, `in_flight` and `concurrency` are its permits in this worker.
    """

    where: str
    mode: str
    state: str
    reason: str = ""
    name: str | None = None
    target: str | None = None
    provider: str | None = None
    address: str | None = None
    model: str | None = None
    speaks: str | None = None
    refused: str | None = None
    dropped: tuple[str, ...] = ()
    retries: int = 0
    timeout_ms: float | None = None
    in_flight: int | None = None
    concurrency: int | None = None
    cache: str | None = None
    children: tuple[Prospect, ...] = ()


class Explanation(msgspec.Struct, omit_defaults=True):
    """`because` says which of the ways to name a target counts. `reaches` is the path in the config of the target that
    would be asked, absent where chance decides or everything is refused; then `refused` says how."""

    path: str
    model: str | None
    api_key: str
    because: str
    plan: Prospect
    reaches: str | None = None
    target: str | None = None
    refused: str | None = None

    def leaves(self) -> list[Prospect]:
        """All targets, in order."""
        return list(_leaves(self.plan))


def _leaves(node: Prospect) -> Iterator[Prospect]:
    if node.mode == "target":
        yield node
    for child in node.children:
        yield from _leaves(child)


def imagined(
    snapshot: Snapshot, key: Key, path: str, headers: Mapping[str, str], body: bytes, model: str | None = None
) -> Exchange:
    """A request that nobody sent. `model` is for one without a body. Raises Refused (400)."""
    dialect = DIALECTS.get(path)
    if dialect is None:
        raise Refused(Kind.INVALID_REQUEST, f"Only requests to {', '.join(DIALECTS)} can be explained.", param="path")
    named = {_read_as(name): value.encode("latin-1", "replace") for name, value in headers.items()}
    raw = tuple(named.items())
    client = cast(Any, None)  # nothing is ever sent
    x = Exchange(client, snapshot, "POST", path, "", named, raw, "explained", "explained", monotonic(), time(), body)
    x.key, x.dialect, x.model, x.body_model = key, dialect, model, model
    if body:
        try:
            seen = peek(body)
        except InvalidRequest as error:
            raise invalid(error) from error
        x.model = x.body_model = seen.model or model
        x.streamed = seen.stream is True
    return x


def _read_as(name: str) -> bytes:
    lower = name.lower().replace("x-loopway-", "x-portkey-", 1)
    return lower.encode("latin-1", "replace")


def explain(x: Exchange, cache: AnswerCache | None, *, addresses: bool) -> Explanation:
    """What would happen to this request. `addresses`: whether hosts are told. Raises Refused where the gateway would
    refuse it before any target is chosen."""
    key = x.key
    assert key is not None
    asked, because = x.model, reason_of(x, key)
    plan = routing.resolve(x, key)
    leaves = {leaf.where: leaf for leaf in plan.root.leaves()}
    tree = _prospect(plan.explain(Facts(x, monotonic())), x, leaves, cache, addresses)
    said = Explanation(x.path, asked, key.name, because, tree)
    certain = [leaf for leaf in said.leaves() if leaf.state in (State.CHOSEN, State.NEXT)]
    reached = next((leaf for leaf in certain if leaf.refused is None), None)
    if reached is not None:
        said.reaches, said.target = reached.where, reached.target
    elif certain:
        said.refused = certain[-1].refused
    return said


def reason_of(x: Exchange, key: Key) -> str:
    """Which of the ways to name a target is the first that the request uses; asked before it is resolved."""
    if b"x-portkey-config" in x.headers:
        return "the request's own config decides"
    if key.config is not None:
        return f"the API key's default config {key.config} decides"
    if x.headers.get(b"x-portkey-provider", b"").startswith(b"@"):
        return "the provider header names a slug"
    if b"x-portkey-virtual-key" in x.headers:
        return "the virtual-key header names it"
    if x.model is not None and model_slug(x.model):
        return "the model names a slug"
    if b"x-portkey-provider" in x.headers:
        return "the provider header names a provider, with the request's own credential"
    return "nothing names a target; a virtual key claims the model, or there is only one"


def _prospect(
    verdict: Verdict, x: Exchange, leaves: dict[str, Leaf], cache: AnswerCache | None, addresses: bool
) -> Prospect:
    below = tuple(_prospect(child, x, leaves, cache, addresses) for child in verdict.children)
    told = Prospect(verdict.where, verdict.mode, verdict.state.value, verdict.reason, verdict.name, verdict.target)
    told.children = below
    leaf = leaves.get(verdict.where)
    if leaf is not None and not below:
        _tell(told, x, leaf, cache, addresses)
    return told


def _tell(told: Prospect, x: Exchange, leaf: Leaf, cache: AnswerCache | None, addresses: bool) -> None:
    target, origin = leaf.target, leaf.target.origin
    told.provider = target.provider.name
    if addresses:
        told.address = f"{origin.scheme}://{origin.authority}{target.base_path}"
    told.retries = leaf.attempts
    if target.limiter is not None:
        told.in_flight, told.concurrency = target.limiter.held, target.limiter.limits.concurrency
    try:
        told.model = target.model_for(_asked(x, leaf))
        told.model = model = outbound.admit(x, leaf)
        timeout = outbound.request_timeout(x, leaf)
        told.timeout_ms = None if timeout is None else timeout * 1000
        told.speaks, told.dropped = _spoken(x, leaf, model)
        told.cache = "DISABLED" if leaf.cache is None or cache is None or not x.body else cache.look(x, leaf)
    except Refused as refused:
        if x.body or x.model is not None or refused.param != "model":
            # A question that names no model is about the way, not about the model.
            told.refused = refused.message


def _asked(x: Exchange, leaf: Leaf) -> str | None:
    override = leaf.override_params.get("model")
    return override if isinstance(override, str) else x.model


def _spoken(x: Exchange, leaf: Leaf, model: str) -> tuple[str | None, tuple[str, ...]]:
    """The dialect that goes upstream, and what would not survive on the way there. Raises Refused."""
    wire = leaf.target.wire_for(x.dialect, model, x.streamed)
    if wire is None:
        if x.dialect is Dialect.ANTHROPIC_COUNT_TOKENS:
            return "nothing: counted here", ()
        raise Refused(Kind.INVALID_REQUEST, f"{leaf.target.provider.name} does not serve {x.dialect}")
    if not x.body:
        return wire.dialect.value, ()
    body = outbound.body_for(x, leaf, model)
    sent = None if wire.codec.identity else outbound.translated(x, leaf, wire, model, body)[1]
    dropped = () if sent is None else sent.dropped
    if wire.quirks is not None:
        more = outbound.bent(x, wire.quirks, body if sent is None else sent.body)[1]
        if wire.quirks.betas is not None:
            more += outbound.sifted_betas(x, leaf.target, wire.quirks.betas)[1]
        dropped += more if sent is None else in_words(sent.words, more)
    return wire.dialect.value, dropped


# The route


class ExplainBody(msgspec.Struct, forbid_unknown_fields=True):
    """A request to explain: where it would go (`path`), its body, and header fields beside those that this request has
    itself. `config` is a slug or an object, as `x-portkey-config` has it; `api_key` the name or id of the key that
    would ask, for administrators."""

    path: str = "/v1/chat/completions"
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    config: dict[str, Any] | str | None = None
    model: str | None = None
    api_key: str | None = None


async def _explain(context: AdminContext, request: AdminRequest) -> Answer:
    asking = request.exchange
    assert asking is not None
    given = parse(read(request.body), ExplainBody)
    own = {name.decode(): value.decode("latin-1") for name, value in asking.headers.items() if _counts(name)}
    headers = {**own, **given.headers}
    if given.config is not None:
        config = given.config
        headers["x-portkey-config"] = config if isinstance(config, str) else msgspec.json.encode(config).decode()
    administers = "configs.read" in request.scopes
    key = _key(asking, given.api_key, administers)
    body = b"" if given.body is None else msgspec.json.encode(given.body)
    x = imagined(asking.snapshot, key, given.path, headers, body, given.model)
    return Answer(explain(x, context.cache, addresses=administers))


def _counts(name: bytes) -> bool:
    """Whether a field of the asking request is one of the request in question, too: all but who asks."""
    return name.startswith(b"x-portkey-") and name != b"x-portkey-api-key"


def _key(asking: Exchange, name: str | None, administers: bool) -> Key:
    own = asking.key
    assert own is not None
    if name is None or name in (own.id, own.name):
        return own
    if not administers:
        raise Refused(Kind.FORBIDDEN, "Only administrators may ask for other API keys.", param="api_key")
    for key in asking.snapshot.keys.values():
        if name in (key.id, key.name):
            return key
    raise Refused(Kind.NOT_FOUND, f"there is no API key '{name}'", param="api_key")


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/explain",
        scope="any",
        summary="Which target a request would reach, and why, without calling anything",
        handler=_explain,
        body="json",
        exchange=True,
    ),
)
