from __future__ import annotations

import json

import pytest

from runtime.classifier.errors import BadRequestError, TooLargeError
from runtime.classifier.requests import (
    ClassificationRequest,
    FolderRequest,
    UploadRequest,
    WakeupRequest,
    parse_json,
    parse_request,
)


def test_the_papers_classification_request_is_understood() -> None:
    fields = {"method": "classification", "file_path": "test/20200118.jpg"}
    assert parse_request("classification", fields) == ClassificationRequest("test/20200118.jpg")


def test_the_papers_wakeup_request_is_understood() -> None:
    fields = {"method": "wakeup", "sleep_time": "800"}
    assert parse_request("wakeup", fields) == WakeupRequest(800)


@pytest.mark.parametrize("value", [400, 400.0, "400", 0, "0", 5000, "5000"])
def test_sleep_time_may_be_text_or_a_whole_number(value: object) -> None:
    request = parse_request("wakeup", {"method": "wakeup", "sleep_time": value})
    assert request == WakeupRequest(int(float(str(value))))


@pytest.mark.parametrize(
    "value",
    [-1, "-1", "an hour", 3_600_000, "3600000", 5001, "5001", 0.5, True, None, [], {}, "", " 400",
     "4e2", "٤٠٠", "0400", 1e400],
)  # fmt: skip
def test_a_sleep_time_that_cannot_be_is_refused_by_name(value: object) -> None:
    with pytest.raises(BadRequestError, match="sleep_time"):
        parse_request("wakeup", {"method": "wakeup", "sleep_time": value})


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "a/../../b.jpg", "/etc/passwd", "a//b.jpg", "", "a/", "./a.jpg", "a\\b.jpg",
     "a\x00.jpg", "a\nb", "é.jpg", "x" * 513, "%2e%2e/a.jpg", 5, None, ["a.jpg"], {"a": 1}],
)  # fmt: skip
def test_a_file_path_that_climbs_or_cannot_be_is_refused_by_name(path: object) -> None:
    with pytest.raises(BadRequestError, match="file_path"):
        parse_request("classification", {"method": "classification", "file_path": path})


@pytest.mark.parametrize("path", ["a.jpg", "..a.jpg", "a/b/c d.jpeg", "20261121/0f.jpg", "a..b/c"])
def test_an_ordinary_file_path_is_taken(path: str) -> None:
    fields = {"method": "classification", "file_path": path}
    assert parse_request("classification", fields) == ClassificationRequest(path)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadRequestError, match="file_path is missing"):
        parse_request("classification", {"method": "classification"})


def test_an_unknown_field_is_named_and_cut_short() -> None:
    fields = {"method": "wakeup", "sleep_time": "1", "x" * 5000: 1}
    with pytest.raises(BadRequestError) as caught:
        parse_request("wakeup", fields)
    assert "unknown field" in caught.value.message
    assert len(caught.value.message) < 300


def test_a_method_of_another_route_is_refused() -> None:
    with pytest.raises(BadRequestError, match="'wakeup'"):
        parse_request("wakeup", {"method": "classification", "sleep_time": "1"})


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(BadRequestError, match="classification, wakeup, images, folder"):
        parse_request("train", {"method": "train"})


@pytest.mark.parametrize("content_type", ["image/svg+xml", "text/html", None, 3, "image/JPEG"])
def test_an_upload_of_another_type_is_refused(content_type: object) -> None:
    with pytest.raises(BadRequestError, match="content_type"):
        parse_request("images", {"method": "images", "content_type": content_type})


def test_an_upload_of_a_known_type_is_taken() -> None:
    fields = {"method": "images", "content_type": "image/png"}
    assert parse_request("images", fields) == UploadRequest("image/png")


def test_a_folder_batch_takes_keys_as_s3_lists_them() -> None:
    fields = {"method": "folder", "run": "r-1", "items": [{"Key": "pictures/a.jpg", "Size": 1}]}
    assert parse_request("folder", fields) == FolderRequest("r-1", ("pictures/a.jpg",))


@pytest.mark.parametrize(
    "fields",
    [
        {"run": "../r", "items": [{"Key": "pictures/a"}]},
        {"run": "r", "items": []},
        {"run": "r", "items": [{"Key": "models/a"}]},
        {"run": "r", "items": ["pictures/a"]},
        {"run": "r", "items": [{"Key": "pictures/a"}] * 501},
        {"run": "r"},
    ],
)
def test_a_folder_batch_outside_its_prefix_or_limits_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadRequestError):
        parse_request("folder", {"method": "folder", **fields})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nope", b"\xff\xfe", b'{"a": NaN}', b"[" * 10_000, b"[]", b"3", b"null"]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="body"):
        parse_json(body)


def test_a_huge_body_is_refused_unread() -> None:
    with pytest.raises(TooLargeError, match="16384"):
        parse_json(json.dumps({"file_path": "x" * 20_000}).encode())
