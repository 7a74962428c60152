"""Signatures of requests and of forms, held to botocore's own."""

from __future__ import annotations

import base64
import json
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from runtime.classifier.credentials import Credentials
from runtime.classifier.signing import signed_headers
from runtime.classifier.storage import Told, _metadata
from tests.unit.classifier.test_s3 import NOW, client


@pytest.mark.parametrize("token", [None, "tok/en="])
@pytest.mark.parametrize("key", ["a.jpg", "with blank/ü+(1).jpg", "a//b", "~x_y-z.1"])
@pytest.mark.parametrize(
    "extra",
    [
        {"range": "bytes=0-9"},
        {
            "x-amz-meta-visionstack": _metadata(
                Told(top=[("Größe  zwölf", 0.5)], model="m", version="v"), "a b.jpg", 1
            ),
            "content-type": "image/jpeg",
        },
    ],
    ids=["range", "metadata"],
)
def test_a_request_is_signed_as_botocore_signs_it(
    monkeypatch: pytest.MonkeyPatch, key: str, token: str | None, extra: dict[str, str]
) -> None:
    host = "bucket.s3.eu-west-1.amazonaws.com"
    path = "/" + botocore.auth.quote(key, safe="/-_.~")
    credentials = Credentials("AKID", "secret", token)
    ours = signed_headers(
        "GET", host, path, extra, region="eu-west-1", credentials=credentials, now=NOW
    )
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    request = botocore.awsrequest.AWSRequest("GET", f"https://{host}{path}", extra)
    signer = botocore.auth.S3SigV4Auth(
        botocore.credentials.Credentials("AKID", "secret", token), "s3", "eu-west-1"
    )
    monkeypatch.setattr(signer, "_should_sha256_sign_payload", lambda request: False)
    signer.add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def test_an_upload_form_limits_key_type_size_and_time() -> None:
    form = client(None, token="t").presign_post(
        "b", "pictures/a.jpg", content_type="image/png", max_bytes=77, expires_seconds=60
    )
    assert form.url == "https://b.s3.eu-west-1.amazonaws.com/"
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    assert policy["expiration"] == "2026-11-21T20:31:00Z"
    conditions = policy["conditions"]
    assert ["content-length-range", 1, 77] in conditions
    assert {"key": "pictures/a.jpg"} in conditions
    assert {"Content-Type": "image/png"} in conditions
    assert {"bucket": "b"} in conditions
    assert {"x-amz-security-token": "t"} in conditions


def test_an_upload_form_is_signed_as_botocore_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = client(None).presign_post(
        "b", "k", content_type="image/png", max_bytes=1, expires_seconds=60
    )
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    signer = botocore.auth.S3SigV4PostAuth(
        botocore.credentials.Credentials("AKID", "secret"), "s3", "eu-west-1"
    )
    request = botocore.awsrequest.AWSRequest("POST", "https://b.s3.eu-west-1.amazonaws.com/")
    assert ours.fields["x-amz-signature"] == signer.signature(
        ours.fields["policy"], _dated(request)
    )


def _dated(request: Any) -> Any:
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    return request


def test_a_form_expires_when_it_is_said_and_takes_a_byte_at_least() -> None:
    """NOW is 2026-11-21 20:30; 90 seconds later it is 20:31:30."""
    form = client(None, token="t").presign_post(
        "b", "k", content_type="image/png", max_bytes=77, expires_seconds=90
    )
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    assert policy["expiration"] == "2026-11-21T20:31:30Z"
    assert ["content-length-range", 1, 77] in policy["conditions"]
    assert {"bucket": "b"} in policy["conditions"]
    assert {"x-amz-security-token": "t"} in policy["conditions"]
    assert form.fields["x-amz-security-token"] == "t"
    assert form.url == "https://b.s3.eu-west-1.amazonaws.com/"
    plain = client(None).presign_post(
        "b", "k", content_type="image/png", max_bytes=77, expires_seconds=90
    )
    assert "x-amz-security-token" not in plain.fields
