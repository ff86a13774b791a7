"""Config objects from JSON: everything wrong with one is said at once, in the words that users of the field know.

`parse` takes what JSON, YAML or the SDKs give and returns the root `Node`, or raises `InvalidConfig` whose findings
read `path: strategy,mode, message: …`. Keys may be written in snake_case or camelCase. Unknown keys are not used, and
named in `Node.warnings`. A key that is null counts as absent.

What a leaf needs is judged with what it inherits: a provider with a key or a host of its own, a virtual key, a
provider "@slug", or a policy that applies to whatever the request names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from adapters import params
from adapters.providers import PROVIDERS, RETIRED
from proxy.config import hosts, policies
from proxy.config.checks import (
    Check,
    Examiner,
    Finding,
    Path,
    flag,
    listing,
    mapping,
    millis,
    named,
    number,
    pattern,
    record,
    text,
)
from proxy.config.fields import FIELD_CHECKS, PROVIDER_FIELDS
from proxy.config.near import nearest
from proxy.config.nodes import Node, Strategy, inherit
from proxy.errors import LoopwayError
from proxy.ports import Secret

__all__ = ["Finding", "InvalidConfig", "Node", "examine", "inherit", "parse", "parse_json"]

MAX_DEPTH = 16
MAX_FINDINGS = 100


class InvalidConfig(LoopwayError):
    """A config object that cannot be used. `findings` are lines for the answer's `errors`; none shows a secret."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.details = tuple(findings)
        self.findings = [str(finding) for finding in self.details]
        super().__init__("Invalid config passed: " + "; ".join(self.findings))


class Examined(NamedTuple):
    """What an examination gives: the root node (None if there are findings), what is wrong, and what is odd."""

    node: Node | None
    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def parse(raw: object) -> Node:
    """The root node of a config object as decoded from JSON or YAML. Raises `InvalidConfig`, never anything else."""
    node, findings, _ = examine(raw)
    if node is None:
        raise InvalidConfig(findings)
    return node


def parse_json(text: bytes | str) -> Node:
    """The same from JSON text."""
    try:
        raw = msgspec.json.decode(text)
    except RecursionError:
        raise InvalidConfig([Finding((), f"it is nested more than {MAX_DEPTH} deep")]) from None
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidConfig([Finding((), "Invalid config passed. You need to pass a valid json")]) from None
    return parse(raw)


def examine(raw: object) -> Examined:
    """The same as values, for callers that know where each path stands in a file."""
    x = Examiner()
    node = _node(x, raw, (), frozenset())
    findings, warnings = tuple(x.findings), tuple(dict.fromkeys(x.warnings))
    if len(findings) > MAX_FINDINGS:
        findings = (*findings[:MAX_FINDINGS], Finding((), f"and {len(findings) - MAX_FINDINGS} more"))
    if findings or node is None:
        return Examined(None, findings, warnings)
    lines = tuple(f"{json_path(finding.path)}: {finding.message}" for finding in warnings)
    breaker = node.strategy.cb_config if node.strategy else None
    return Examined(msgspec.structs.replace(node, warnings=lines, breaker=breaker), (), warnings)


def json_path(path: Path) -> str:
    """`config.targets[0].retry`, as answers and logs name a place in a config object."""
    return "config" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _secret(x: Examiner, value: Any, path: Path) -> Any:
    given = text(x, value, path)
    return given if given is UNSET else Secret(given)


def _provider(x: Examiner, value: Any, path: Path) -> Any:
    given = named(x, value, path)
    if given is UNSET or given in PROVIDERS:
        return given
    if given.startswith("@"):
        return given if given[1:].partition("/")[0] else x.bad(path, "a slug must follow '@'")
    if given in RETIRED:
        return x.bad(path, f"the provider '{given}' is no more: {RETIRED[given]}")
    near = nearest(given, PROVIDERS)
    message = f"Invalid 'provider' value. Must be one of: {', '.join(PROVIDERS)}"
    return x.bad(path, f"{message}. Did you mean '{near}'?" if near else message)


def _virtual_key(x: Examiner, value: Any, path: Path) -> Any:
    given = named(x, value, path)
    return given if given is UNSET else given.removeprefix("@")


def _custom_host(x: Examiner, value: Any, path: Path) -> Any:
    given = text(x, value, path)
    if given is UNSET or hosts.fault(given) is None:
        return given
    return x.bad(path, "Invalid custom host")


_NEVER_FORWARDED = frozenset(
    {
        "metadata-flavor",
        "x-aws-ec2-metadata-token",
        "x-google-metadata-request",
        "x-portkey-forward-headers",
        "x-loopway-forward-headers",
    }
)


_header_name = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "must be the name of a header")


def _forward_header(x: Examiner, value: Any, path: Path) -> Any:
    given = _header_name(x, value, path)
    if given is UNSET:
        return given
    name = given.lower()
    return x.bad(path, f"the header '{given}' cannot be forwarded") if name in _NEVER_FORWARDED else name


def _guardrail(x: Examiner, value: Any, path: Path) -> Any:
    return value if isinstance(value, str) else mapping(x, value, path)


def _later(x: Examiner, value: Any, path: Path) -> Any:
    return value if isinstance(value, list) else x.expected("array", value, path)


def _options(x: Examiner, value: Any, path: Path) -> Any:
    message = "the old form with 'mode' and 'options' is not read; write 'strategy': {'mode': …} and 'targets': […]"
    return x.bad(path, message)


_hooks = listing(mapping)
_guardrails = listing(_guardrail)

_NODE: dict[str, Check] = {
    "name": named,
    "provider": _provider,
    "virtual_key": _virtual_key,
    "api_key": _secret,
    "passthrough": flag,
    "prompt_id": named,
    "override_params": mapping,
    "default_params": mapping,
    "drop_params": listing(pattern(params.PATH, "must be a path such as a.b, a[0].b or a[*].b")),
    "custom_host": _custom_host,
    "forward_headers": listing(_forward_header),
    "weight": number(0, whole=False),
    "strategy": policies.strategy,
    "targets": _later,
    "retry": policies.retry,
    "cache": policies.cache,
    "request_timeout": millis,
    "idle_timeout": millis,
    "total_timeout": millis,
    "strict_open_ai_compliance": flag,
    "strict_params": flag,
    "input_guardrails": _guardrails,
    "output_guardrails": _guardrails,
    "input_mutators": _guardrails,
    "output_mutators": _guardrails,
    "before_request_hooks": _hooks,
    "after_request_hooks": _hooks,
    "fetch_integrated_models": flag,
    **{name: FIELD_CHECKS[kind] for name, kind in PROVIDER_FIELDS.items()},
    "options": _options,
}

_SUFFICIENT = frozenset(
    {
        "virtual_key", "cache", "retry", "request_timeout", "forward_headers", "passthrough", "prompt_id",
        "default_params", "override_params", "drop_params", "before_request_hooks", "after_request_hooks",
        "input_guardrails", "output_guardrails", "input_mutators", "output_mutators", "azure_auth_mode",
    }
)  # fmt: skip
"""One of these makes a leaf complete. The policies among them apply to whatever provider the request names."""

_HANDED_DOWN = _SUFFICIENT - {"virtual_key", "passthrough", "prompt_id", "azure_auth_mode"} | {"custom_host"}

_INCOMPLETE = (
    "Invalid configuration. It must have either 'provider' and 'api_key', or 'strategy' and 'targets', or 'cache', "
    "or 'retry', or 'request_timeout'"
)
_VERTEX = (
    "Invalid configuration. ('vertex_project_id' and 'vertex_region') or ('vertex_service_account_json' and "
    "'vertex_region') are required for 'vertex-ai' provider. Example: { 'provider': 'vertex-ai', "
    "'vertex_project_id': 'my-project-id', 'vertex_region': 'us-central1', api_key: 'ya29...' }"
)
_KEYLESS = frozenset({"ollama", "triton"})
_CLOUD_CREDENTIALS = ({"aws_access_key_id", "aws_secret_access_key"},)


def _node(x: Examiner, raw: Any, path: Path, inherited: frozenset[str]) -> Node | None:
    """One node and all below it. `inherited` names what the nodes above hand down."""
    if len(path) > 2 * MAX_DEPTH:
        x.bad(path, f"targets may be nested {MAX_DEPTH} deep, not deeper")
        return None
    before = len(x.findings)
    given = record(x, raw, path, _NODE)
    if given is UNSET:
        return None
    sound = len(x.findings) == before
    elements = given.pop("targets", None)
    fields = {name: given.pop(name) for name in tuple(given) if name in PROVIDER_FIELDS}
    if sound:
        # Only then: a key that could not be read is not a key that is missing.
        _complete(x, given, fields, elements, path, inherited)
    below = inherited | (given.keys() & _HANDED_DOWN)
    read = [_node(x, element, (*path, "targets", index), below) for index, element in enumerate(elements or ())]
    targets = tuple(node for node in read if node is not None)
    if elements and "strategy" not in given and sound:
        given["strategy"] = Strategy("single")
    if "strategy" in given:
        _routable(x, given["strategy"], targets, path, complete=len(targets) == len(elements or ()))
    return Node(**given, targets=targets, fields=fields)


def _complete(
    x: Examiner,
    given: dict[str, Any],
    fields: dict[str, Any],
    elements: list[Any] | None,
    path: Path,
    inherited: frozenset[str],
) -> None:
    """Whether a node says enough to be followed: a strategy with its targets, or a leaf."""
    strategy: Strategy | None = given.get("strategy")
    if elements:
        if strategy is None and len(elements) > 1:
            x.bad((*path, "strategy"), "must be given with several 'targets'; which of them shall answer?")
        for name in sorted(given.keys() & {"provider", "virtual_key", "api_key"}):
            x.warn((*path, name), "is not used beside 'targets'")
        return
    if elements is not None or (strategy is not None and strategy.mode != "single"):
        mode = f" for mode '{strategy.mode}'" if strategy else ""
        x.bad((*path, "targets"), f"'targets' must have at least one target{mode}")
        return
    provider = given.get("provider", "")
    if provider == "vertex-ai":
        if "vertex_region" not in fields or not {"vertex_project_id", "vertex_service_account_json"} & fields.keys():
            x.bad(path, _VERTEX)
        return
    has = (given.keys() - {"provider"}) | fields.keys() | inherited
    if provider.startswith("@") or provider in _KEYLESS or has & _SUFFICIENT:
        return
    if provider and has & {"api_key", "custom_host", "azure_ad_token"}:
        return
    if not any(pair <= has for pair in _CLOUD_CREDENTIALS):
        x.bad(path, _INCOMPLETE)


def _routable(x: Examiner, strategy: Strategy, targets: tuple[Node, ...], path: Path, *, complete: bool) -> None:
    """Whether the strategy can always decide: some weight above zero, names that exist. `complete`: all were read."""
    if strategy.mode == "loadbalance" and targets and complete and sum(target.weight for target in targets) == 0:
        x.bad((*path, "targets"), "the weights add up to 0; give at least one target a weight above 0")
    if strategy.mode != "conditional":
        return
    here = (*path, "strategy")
    if not strategy.conditions:
        x.bad((*here, "conditions"), "No conditions passed in the query router")
    if not complete:
        return
    names = {target.name for target in targets if target.name}
    wanted: list[tuple[Path, str]] = [
        ((*here, "conditions", index, "then"), condition.then) for index, condition in enumerate(strategy.conditions)
    ]
    if strategy.default is not None:
        wanted.append(((*here, "default"), strategy.default))
    for where, name in wanted:
        if name not in names:
            x.bad(where, f"Invalid target name found in the query router: {name}")
