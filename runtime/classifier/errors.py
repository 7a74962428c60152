"""What the classifier can refuse, and with which HTTP status and code.

`ApiError` is the root; its `code` is part of the API (docs/api/openapi.json) and its message names
the input, what is wrong and what is allowed.
"""

from __future__ import annotations

from typing import ClassVar


class ApiError(Exception):
    """An answer other than 200."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code


class BadRequestError(ApiError):
    """The body, or a field of it, is not what the route takes."""

    status = 400
    code = "bad_request"


class PictureError(ApiError):
    """The bytes are no picture that can be decoded: another format, truncated, or damaged."""

    status = 422
    code = "not_a_picture"


class NotFoundError(ApiError):
    """No such route, or no picture under this path."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ApiError):
    """The route exists, for another HTTP method."""

    status = 405
    code = "method_not_allowed"


class TooLargeError(ApiError):
    """More bytes or more pixels than a limit of `runtime.contract` allows."""

    status = 413
    code = "too_large"


class MediaTypeError(ApiError):
    """A content type that the route does not take."""

    status = 415
    code = "unsupported_media_type"


class UnavailableError(ApiError):
    """The storage or the model cannot be reached now; the same call may work later."""

    status = 503
    code = "unavailable"
    retry_after_seconds: ClassVar[int] = 1


class ModelUnavailableError(UnavailableError):
    """No intact model could be loaded; the message says why."""

    code = "model_unavailable"


class InternalError(ApiError):
    """A bug; the log has the details, the answer has the request's id only."""
