"""Request schemas for the gateway, read from the API's own document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import stacks

_CHECKOUT: Final = Path(__file__).resolve().parents[2] / "docs" / "api" / "openapi.json"
_SHIPPED: Final = Path(stacks.__file__).parent / "shipped" / "openapi.json"
"""The copy in a wheel (pyproject.toml)."""
_DOCUMENT: Final = _CHECKOUT if _CHECKOUT.exists() else _SHIPPED
_JSON: Final = "application/json"


def request_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 4, the gateway's) of the JSON body of each route that takes one.

    docs/api/openapi.json is the one source: what it says is what the gateway lets through.
    """
    document = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
    schemas = {}
    for route, operations in document["paths"].items():
        content = operations["post"]["requestBody"]["content"]
        if _JSON in content:
            schema = _draft4(content[_JSON]["schema"], document)
            schemas[route] = {"$schema": "http://json-schema.org/draft-04/schema#", **schema}
    return schemas


def _draft4(schema: Any, document: Mapping[str, Any]) -> Any:
    """OpenAPI 3.1's JSON Schema in the older draft's words, references written out."""
    if isinstance(schema, list):
        return [_draft4(entry, document) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _draft4(found, document)
    converted = {
        key: _draft4(value, document) for key, value in schema.items() if key != "examples"
    }
    if "const" in converted:
        converted["enum"] = [converted.pop("const")]
    return converted
