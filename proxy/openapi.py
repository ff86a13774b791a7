"""The OpenAPI document, made from the route table."""

from __future__ import annotations

import re
from typing import Any

from proxy import __version__
from proxy.routes import Route

_NAME = re.compile(r"\{(\w+)\*?\}")


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """An OpenAPI 3.1 description of every route: paths, parameters, credentials, scopes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace("*}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Loopway", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-portkey-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "responses": {"Error": {"description": "What went wrong, and what to do", "content": _json(_ERROR)}},
        },
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "status": {"const": "failure"},
        "message": {"type": "string"},
    },
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _NAME.findall(route.path)
        ],
        "responses": {"200": {"description": "Done"}, "default": {"$ref": "#/components/responses/Error"}},
        "security": [] if route.scope is None else [{"apiKey": []}, {"bearer": []}],
    }
    if route.scope not in (None, "any"):
        operation["x-scope"] = route.scope
    if route.body == "json":
        operation["requestBody"] = {"required": True, "content": _json({"type": "object"})}
    elif route.body == "stream":
        operation["requestBody"] = {"required": False, "content": {"*/*": {}}}
    return operation
