"""What a caller may send: bodies checked field by field and turned into requests.

pydantic would say the same in fewer lines and take 0.3 s of a processor in every cold start.

The limits here are the schemas of docs/api/openapi.json; tests/contract holds the two together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from runtime.classifier.errors import BadRequestError, TooLargeError
from runtime.contract import MAX_WAKEUP_SLEEP_MS, PICTURES_PREFIX

MAX_JSON_BYTES: Final = 16 * 1024
MAX_FOLDER_JSON_BYTES: Final = 256 * 1024
MAX_FOLDER_ITEMS: Final = 500
MAX_FILE_PATH_CHARACTERS: Final = 512

CONTENT_TYPES: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
}
"""What may be uploaded, and the suffix its file gets."""

_PATH = re.compile(r"[A-Za-z0-9!_.*'()=@:,+~ -]+(/[A-Za-z0-9!_.*'()=@:,+~ -]+)*")
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ClassificationRequest(NamedTuple):
    """Classify the picture that lies under `file_path` (relative to `pictures/`)."""

    file_path: str


class WakeupRequest(NamedTuple):
    """Keep this environment busy for `sleep_ms`, so that overlapping calls reach others."""

    sleep_ms: int


class UploadRequest(NamedTuple):
    """A place to upload a picture of this content type to."""

    content_type: str


class FolderRequest(NamedTuple):
    """One batch of a whole folder: keys of the pictures bucket, as S3 lists them."""

    run: str
    keys: tuple[str, ...]


Request = ClassificationRequest | WakeupRequest | UploadRequest | FolderRequest


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        TooLargeError: over `MAX_JSON_BYTES`.
        BadRequestError: not JSON, not UTF-8, nested too deep, or not an object.
    """
    if len(body) > MAX_JSON_BYTES:
        raise TooLargeError(
            f"the JSON body has {len(body)} bytes; at most {MAX_JSON_BYTES} are read "
            "(a picture goes to /recognitions or to the upload of /images)"
        )
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {_short(str(error))}") from None
    if not isinstance(value, dict):
        raise BadRequestError(f"the body is a JSON {_kind(value)}; an object is expected")
    return value


def parse_request(method: str, fields: Mapping[str, Any]) -> Request:
    """The request that `fields` make for `method`.

    Raises:
        BadRequestError: the method is unknown, or a field is missing, unknown or of a wrong type
            or range; the message names it.
    """
    parser = _PARSERS.get(method)
    if parser is None:
        raise BadRequestError(f"unknown method {_short(method)!r}; known: {', '.join(_PARSERS)}")
    named = fields.get("method")
    if named != method:
        raise BadRequestError(f"method is {_short(named)!r}; here it has to be {method!r}")
    return parser(fields)


def check_file_path(value: object) -> str:
    """A relative path below `pictures/`, in letters, digits and a few signs.

    Raises:
        BadRequestError: empty, too long, absolute, climbing, or with other characters.
    """
    if not isinstance(value, str):
        raise BadRequestError(f"file_path is a JSON {_kind(value)}; a string is expected")
    if not 1 <= len(value) <= MAX_FILE_PATH_CHARACTERS:
        raise BadRequestError(
            f"file_path has {len(value)} characters; allowed: 1 to {MAX_FILE_PATH_CHARACTERS}"
        )
    if any(part in {"", ".", ".."} for part in value.split("/")):
        raise BadRequestError(
            f"file_path {_short(value)!r} is absolute, climbs, or has an empty part; "
            "it has to be relative, like 'test/20200118.jpg'"
        )
    if not _PATH.fullmatch(value):
        raise BadRequestError(
            f"file_path {_short(value)!r} has a character that is not a letter, a digit, a blank "
            "or one of !_.*'()=@:,+~-"
        )
    return value


def _classification(fields: Mapping[str, Any]) -> ClassificationRequest:
    _only(fields, "method", "file_path")
    return ClassificationRequest(check_file_path(_field(fields, "file_path")))


def _wakeup(fields: Mapping[str, Any]) -> WakeupRequest:
    _only(fields, "method", "sleep_time")
    value = _field(fields, "sleep_time")
    allowed = f"allowed: 0 to {MAX_WAKEUP_SLEEP_MS} (milliseconds, as text or number)"
    if isinstance(value, str):
        if not re.fullmatch(r"0|[1-9][0-9]{0,3}", value):
            raise BadRequestError(f"sleep_time is {_short(value)!r}; {allowed}")
        number = int(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequestError(f"sleep_time is a JSON {_kind(value)}; {allowed}")
    elif not 0 <= value <= MAX_WAKEUP_SLEEP_MS or value != int(value):
        raise BadRequestError(f"sleep_time is {_short(value)}; {allowed}")
    else:
        number = int(value)
    if number > MAX_WAKEUP_SLEEP_MS:
        raise BadRequestError(f"sleep_time is {number}; {allowed}")
    return WakeupRequest(number)


def _images(fields: Mapping[str, Any]) -> UploadRequest:
    _only(fields, "method", "content_type")
    value = _field(fields, "content_type")
    if not isinstance(value, str) or value not in CONTENT_TYPES:
        raise BadRequestError(
            f"content_type is {_short(value)!r}; allowed: {', '.join(CONTENT_TYPES)}"
        )
    return UploadRequest(value)


def _folder(fields: Mapping[str, Any]) -> FolderRequest:
    run, items = _field(fields, "run"), _field(fields, "items")
    if not isinstance(run, str) or not _RUN.fullmatch(run):
        raise BadRequestError(f"run is {_short(run)!r}; 1 to 64 letters, digits, _ or -")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_FOLDER_ITEMS:
        raise BadRequestError(f"items has to be a list of 1 to {MAX_FOLDER_ITEMS} S3 objects")
    keys = [item.get("Key") if isinstance(item, dict) else None for item in items]
    for key in keys:
        if not isinstance(key, str) or not key.startswith(PICTURES_PREFIX):
            raise BadRequestError(f"an item's Key is {_short(key)!r}; {PICTURES_PREFIX}… expected")
    return FolderRequest(run, tuple(str(key) for key in keys))


_PARSERS: Final[dict[str, Callable[[Mapping[str, Any]], Request]]] = {
    "classification": _classification,
    "wakeup": _wakeup,
    "images": _images,
    "folder": _folder,
}


def _field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise BadRequestError(f"{name} is missing")
    return fields[name]


def _only(fields: Mapping[str, Any], *names: str) -> None:
    unknown = [name for name in fields if name not in names]
    if unknown:
        raise BadRequestError(
            f"unknown field {_short(unknown[0])!r}; known here: {', '.join(names)}"
        )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "number")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
