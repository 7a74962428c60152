"""Signature Version 4 for S3: of a request, and of a form that others upload with.

botocore has both, and takes a cold start too long (`runtime.classifier.s3`). Formulas:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from runtime.classifier.credentials import Credentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"


def signed_headers(
    verb: str,
    host: str,
    path: str,
    extra: Mapping[str, str],
    *,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """The headers of a request, `extra` among them; the body is not signed."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {
        **extra,
        "host": host,
        "x-amz-content-sha256": _UNSIGNED,
        "x-amz-date": stamp,
    }
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    canonical = f"{verb}\n{path}\n\n{lines}\n{names}\n{_UNSIGNED}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    scope = _scope(region, day)
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.new(_signing_key(credentials, region, day), to_sign.encode(), "sha256")
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature.hexdigest()}"
    )
    return headers


def signed_form(
    bucket: str,
    key: str,
    *,
    content_type: str,
    max_bytes: int,
    expires_seconds: int,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """The fields of a form upload of at most `max_bytes` bytes of `content_type` to `key`."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    fields = {
        "key": key,
        "Content-Type": content_type,
        "x-amz-algorithm": _ALGORITHM,
        "x-amz-credential": f"{credentials.access_key}/{_scope(region, day)}",
        "x-amz-date": stamp,
    }
    if credentials.token:
        fields["x-amz-security-token"] = credentials.token
    conditions: list[Any] = [{name: value} for name, value in fields.items()]
    conditions += [{"bucket": bucket}, ["content-length-range", 1, max_bytes]]
    expiration = (now + timedelta(seconds=expires_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    policy = base64.b64encode(
        json.dumps({"expiration": expiration, "conditions": conditions}).encode()
    ).decode()
    signature = hmac.new(_signing_key(credentials, region, day), policy.encode(), "sha256")
    return {**fields, "policy": policy, "x-amz-signature": signature.hexdigest()}


def _signing_key(credentials: Credentials, region: str, day: str) -> bytes:
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return key


def _scope(region: str, day: str) -> str:
    return f"{day}/{region}/s3/aws4_request"
