"""From method and path to a route. Literal paths are one look-up; patterns are tried in the table's order."""

from __future__ import annotations

from urllib.parse import unquote

from adapters.errors import Kind
from adapters.types import Dialect
from proxy.errors import Refused
from proxy.routes import Match, Route


class Router:
    """Built once from the route table. Raises ValueError for two rows that answer the same method and path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._literal: dict[tuple[str, str], Match] = {}
        self._patterns: list[tuple[list[str], Route]] = []
        for route in routes:
            if "{" in route.path:
                self._patterns.append((route.path.split("/"), route))
                continue
            if (route.method, route.path) in self._literal:
                raise ValueError(f"{route.method} {route.path} stands in the route table twice")
            self._literal[(route.method, route.path)] = Match(route, {})
        # The first segments that administration owns: nothing below them is ever passed through to a provider.
        self._own = {route.path.split("/")[2] for route in routes if route.dialect is None and _versioned(route.path)}

    def find(self, method: str, path: str) -> Match:
        """The route and its parameters; a HEAD finds its GET, but none that goes to a provider.

        Raises Refused (404, 405).
        """
        found = self._literal.get((method, path))
        if found is not None:
            return found
        segments = path.split("/")
        if len(segments) > 2 and segments[2] in _VERSIONS and segments[1] in _VERSIONS:
            raise Refused(Kind.NOT_FOUND, _TWICE.format(segments[1], segments[2], segments[1]))
        if len(segments) > 3 and segments[1] == "v1beta" and segments[2][:1] == "@":
            # Vercel's AI SDK takes a model with a slash in its name for a whole path, and leaves `models` out.
            segments.insert(2, "models")
        local = method == "HEAD" or (segments[2:3] and segments[2] in self._own)
        wanted = "GET" if method == "HEAD" else method
        found = self._literal.get((wanted, path))
        if found is not None and found.route.dialect is None:
            return found
        found = self._without_slash(wanted, path, segments)
        if found is not None:
            return found
        for pattern, route in self._patterns:
            if route.method != wanted or (local and route.dialect is not None):
                continue
            params = _fit(pattern, segments)
            if params is not None:
                return Match(route, params)
        raise self._nothing(method, path, segments)

    def _without_slash(self, method: str, path: str, segments: list[str]) -> Match | None:
        """The route that a path with a slash too many at its end means, where it is one of inference. Administration
        and probes have one spelling only: somebody's rules before the gateway may be about it."""
        if segments[-1] or len(segments) < 4 or segments[1] not in _VERSIONS or segments[2] in self._own:
            return None
        return self._literal.get((method, path[:-1])) or self._fitting(method, segments[:-1])

    def _fitting(self, method: str, segments: list[str]) -> Match | None:
        """The first route of a pattern that is not just anything that goes to a provider."""
        for pattern, route in self._patterns:
            if route.method == method and route.dialect is not Dialect.PASSTHROUGH:
                params = _fit(pattern, segments)
                if params is not None:
                    return Match(route, params)
        return None

    def _nothing(self, method: str, path: str, segments: list[str]) -> Refused:
        allowed = {known for known, literal in self._literal if literal == path}
        allowed |= {
            route.method
            for pattern, route in self._patterns
            if route.dialect is None and _fit(pattern, segments) is not None
        }
        if allowed:
            names = ", ".join(sorted(allowed))
            return Refused(
                Kind.INVALID_REQUEST,
                f"{method} is not allowed here; allowed: {names}.",
                status=405,
                code="method_not_allowed",
                headers=(("allow", names),),
            )
        if ("POST", f"/v1{path}") in self._literal or path == "/models" or path.startswith("/v2/"):
            return Refused(Kind.NOT_FOUND, _NONE.format("v1"))
        if path[-1:] == "/" and any(literal == path[:-1] for _, literal in self._literal):
            return Refused(Kind.NOT_FOUND, "There is nothing at this path; without the slash at its end there is.")
        if path.startswith("/models/") and ":" in segments[-1]:
            return Refused(Kind.NOT_FOUND, _NONE.format("v1beta"))
        return Refused(Kind.NOT_FOUND, "There is nothing at this path; inference and administration are below /v1.")


_VERSIONS = frozenset(("v1", "v1beta", "v1beta1"))
_TWICE = "There is nothing below /{}/{}: the base URL must end without /{}, for this client adds it itself."
_NONE = "There is nothing at this path: the base URL must end with /{}, for this client does not add it itself."
"""The commonest mistakes with SDKs, which a provider would only call an unknown path."""


def _versioned(path: str) -> bool:
    return path.startswith("/v1/") and path.split("/")[2] != "models"


def _fit(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for index, want in enumerate(pattern):
        if want[-2:] == "*}":
            if len(segments) <= index or not segments[index]:
                return None
            before, _, name = want[:-2].partition("{")
            rest = "/".join(segments[index:])
            if before:
                whole = unquote(rest)
                if not whole.startswith(before):
                    return None
                rest = whole[len(before) :]
            params[name] = rest
            return params
        if "*}:" in want:
            name, _, verb = want[1:].partition("*}:")
            rest = "/".join(segments[index:])
            if not rest.endswith(f":{verb}") or len(rest) <= len(verb) + 1:
                return None
            params[name] = unquote(rest[: -len(verb) - 1])
            return params
        if index >= len(segments):
            return None
        got = segments[index]
        if want[:1] == "{":
            if not got:
                return None
            params[want[1:-1]] = unquote(got)
        elif want != got:
            return None
    return params if len(pattern) == len(segments) else None
