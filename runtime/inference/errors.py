"""What can go wrong between a picture's bytes and its boxes or labels.

Every error carries a stable `code`, which the stream protocol and the classifier's API pass on.
Errors of Pillow, OpenCV, boto3 and the engines are translated into these at the boundary.
"""

from __future__ import annotations

from typing import ClassVar


class InferenceError(Exception):
    """Root of this package's errors."""

    code: ClassVar[str] = "inference_failed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PictureError(InferenceError):
    """The bytes cannot be used as a picture: the sender's mistake, not the server's."""

    code = "bad_picture"


class NotAPictureError(PictureError):
    """The bytes are of no picture format that is read here."""

    code = "not_a_picture"


class TruncatedPictureError(PictureError):
    """The file begins as a picture but its pixels are missing or damaged."""

    code = "truncated_picture"


class PictureTooLargeError(PictureError):
    """The file has more bytes than the limit."""

    code = "picture_too_large"


class TooManyPixelsError(PictureError):
    """The header announces more pixels than the limit; nothing was decoded."""

    code = "too_many_pixels"


class DecodedTooLargeError(TooManyPixelsError):
    """Decoding it takes more memory than the limit, by its header; nothing was decoded."""

    def __init__(self, message: str, *, needed: int) -> None:
        super().__init__(message)
        self.needed = needed
        """Bytes at the highest point of decoding, about."""


class TooCostlyPictureError(PictureError):
    """Decoding it is more work than the limit, by its header or by the clock."""

    code = "too_costly"


class ArtifactError(InferenceError):
    """A model artifact cannot be used."""

    code = "bad_artifact"


class ArtifactMissingError(ArtifactError):
    """There is no artifact (folder, manifest or published model) of that name."""

    code = "artifact_missing"


class ArtifactDamagedError(ArtifactError):
    """A file of the artifact is missing, has another hash, or the manifest makes no sense."""

    code = "artifact_damaged"


class StoreError(InferenceError):
    """The bucket that holds the models cannot be read."""

    code = "store_unavailable"


class EngineError(InferenceError):
    """The engine raised while running a batch."""

    code = "engine_failed"


class EngineUnavailableError(EngineError):
    """The engine asked for is not installed, unknown, or cannot run on this machine."""

    code = "engine_unavailable"
