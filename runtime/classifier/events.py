"""Lambda events to calls, and answers to what API Gateway or a direct caller expects.

A REST API (proxy integration, payload format 1.0) sends `httpMethod`, `resource` and a body that is
base64 for binary media types. Whoever invokes the function directly (the warmer, the Step
Functions map, the desk) sends the JSON of a route's body as the event itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from runtime.classifier.errors import (
    ApiError,
    BadRequestError,
    MediaTypeError,
    MethodNotAllowedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from runtime.classifier.requests import CONTENT_TYPES, MAX_FOLDER_JSON_BYTES, parse_json
from runtime.contract import MAX_PICTURE_BYTES, Route

METHODS: Final = {
    Route.CLASSIFICATION: "classification",
    Route.WAKEUP: "wakeup",
    Route.IMAGES: "images",
}
_OCTETS: Final = "application/octet-stream"


class Call(NamedTuple):
    """One call, whichever way it came.

    Attributes:
        method: `classification`, `wakeup`, `images`, `folder` or `recognition`.
        fields: the JSON object, empty for `recognition`.
        picture: the bytes sent to /recognitions, else None.
        content_type: of the picture.
    """

    method: str
    fields: Mapping[str, Any]
    picture: bytes | None = None
    content_type: str = ""


def is_http(event: object) -> bool:
    """Whether API Gateway sent it."""
    return isinstance(event, dict) and "httpMethod" in event and "requestContext" in event


def http_call(event: Mapping[str, Any]) -> Call:
    """The call that a REST API's event carries. Raises `ApiError` kinds."""
    route = str(event.get("resource") or event.get("path") or "")
    if route not in METHODS and route != Route.RECOGNITIONS:
        raise NotFoundError(f"there is no route {route[:80]!r}")
    if event["httpMethod"] != "POST":
        raise MethodNotAllowedError(f"{route} takes POST, not {str(event['httpMethod'])[:16]}")
    content_type = _content_type(event)
    if route == Route.RECOGNITIONS:
        if content_type not in CONTENT_TYPES and content_type != _OCTETS:
            raise MediaTypeError(
                f"content type {content_type[:80]!r}; a picture is sent as "
                f"{', '.join(CONTENT_TYPES)} or {_OCTETS}"
            )
        return Call(
            method="recognition", fields={}, picture=_picture(event), content_type=content_type
        )
    if content_type not in {"", "application/json"}:
        raise MediaTypeError(f"content type {content_type[:80]!r}; application/json is expected")
    return Call(method=METHODS[route], fields=parse_json(_body(event)))


def direct_call(event: object) -> Call:
    """The call that a direct invocation carries. Raises `BadRequestError`, `TooLargeError`."""
    if not isinstance(event, dict):
        raise BadRequestError("the event is not a JSON object")
    size = len(json.dumps(event))
    if size > MAX_FOLDER_JSON_BYTES:
        raise TooLargeError(f"the event has {size} bytes; at most {MAX_FOLDER_JSON_BYTES} are read")
    return Call(method=str(event.get("method", "")), fields=event)


def http_answer(status: int, body: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    """What a proxy integration gives back."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store", **headers},
        "body": json.dumps(body, ensure_ascii=False),
        "isBase64Encoded": False,
    }


def http_error(error: ApiError, **headers: str) -> dict[str, Any]:
    """The answer for an error: `code` and `message`; 503 says when to come back."""
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = "POST"
    return http_answer(error.status, error_body(error), **headers)


def error_body(error: ApiError) -> dict[str, str]:
    """The JSON of an error."""
    return {"code": error.error_code, "message": error.message}


def _content_type(event: Mapping[str, Any]) -> str:
    for name, value in (event.get("headers") or {}).items():
        if name.lower() == "content-type":
            return str(value).split(";")[0].strip().lower()
    return ""


def _picture(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not text:
        raise BadRequestError("the body is empty; it has to be the picture itself")
    if len(text) > MAX_PICTURE_BYTES * 4 // 3 + 4:
        raise TooLargeError(
            f"the picture is too large; allowed: {MAX_PICTURE_BYTES} bytes",
            code="picture_too_large",
        )
    return _body(event)


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequestError("the body is not the base64 that it is said to be") from None
