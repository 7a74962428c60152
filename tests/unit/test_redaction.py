"""Passwords and tokens are not in what is printed, logged or raised."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.classifier.credentials import Credentials
from runtime.protocol.options import HelloOptions
from runtime.redaction import redacted, without_identities
from runtime.streaming.host import logs
from visionstack.cloud.deployment import ClassifierApi, StreamEndpoint
from visionstack.errors import VisionstackError
from visionstack.stream.sources import open_source

SECRET = "hunter2-Xy/7+"


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp://admin:{SECRET}@10.0.0.7:554/h264 cannot be opened",
        f"rtsp://admin:p@{SECRET}@camera/1",
        f"rtsp:/admin:{SECRET}@camera",
        f"http://127.0.0.1:8080/#token={SECRET}",
        f"https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}&X-Amz-Security-Token={SECRET}",
        f"--token={SECRET} refused",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f'{{"SecretAccessKey": "{SECRET}", "SessionToken": "{SECRET}"}}',
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"x-api-key: {SECRET}",
    ],
)
def test_a_secret_is_hidden(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("arn:aws:iam::123456789012:role/x", "123456789012"),
        ("visionstack-assets-123456789012-us-east-1", "123456789012"),
        ("The key AKIAIOSFODNN7EXAMPLE is not valid", "AKIAIOSFODNN7EXAMPLE"),
        ("https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/v1", "a1b2c3d4e5"),
        ("arn:aws:apigateway:us-east-1::/restapis/a1b2c3d4e5/stages/v1", "a1b2c3d4e5"),
        ("http://localhost:4566/_aws/execute-api/a1b2c3d4e5/v1", "a1b2c3d4e5"),
        ("API-Gateway-Execution-Logs_a1b2c3d4e5/v1", "a1b2c3d4e5"),
        ("rehea-LoadB-0123456789abcdef.elb.us-east-1.amazonaws.com", "0123456789abcdef"),
        ("203.0.113.7:8765 refused", "203.0.113.7"),
        ("networks 203.0.113.0/24.", "203.0.113.0"),
        ("to [2001:db8::7]:8765", "2001:db8::7"),
        ("rtsp://admin:hunter2@camera/1", "hunter2"),
    ],
)
def test_whose_account_it_was_is_not_in_what_strangers_see(text: str, hidden: str) -> None:
    assert hidden not in without_identities(text)
    assert "***" in without_identities(text)


@pytest.mark.parametrize(
    "text",
    [
        "yolov3-tiny 0123456789abcdef on openvino bf16, 12:34:56",
        "2026-11-25T12:34:56+00:00: 1.5.33, 1784021234567 ms",
        "aws::lambda and 3008::package:snapstart, $0.0000166667 a GB-s",
    ],
)
def test_versions_times_and_prices_are_left(text: str) -> None:
    assert without_identities(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://camera:554/h264 cannot be opened",
        "s3://bucket/key failed: HTTP 503 SlowDown",
        "--connect needs the server's token.",
        "The token's secret arn:aws:secretsmanager:eu-west-1:1:secret:x cannot be read: no",
        "user@host took 3 frames",
        '{"tokens": 3, "rate": 2.5}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_camera_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(VisionstackError) as raised:
        open_source(f"rtsp://admin:{SECRET}@127.0.0.1:9/x")
    assert "hunter2" not in str(raised.value)
    assert "127.0.0.1:9/x" in str(raised.value)


def test_a_source_carries_its_address_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2
    import numpy as np

    class Camera:
        def __init__(self, where: str) -> None:
            assert SECRET in where

        def isOpened(self) -> bool:
            return True

        def get(self, name: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, object]:
            return True, np.zeros((2, 2, 3), np.uint8)

        def release(self) -> None:
            """As OpenCV's."""

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    source = open_source(f"rtsp://admin:{SECRET}@camera/x")
    assert "hunter2" not in source.name + next(source.frames).name + repr(source)


@pytest.mark.parametrize(
    "value",
    [
        Credentials("AKID", SECRET, SECRET),
        StreamEndpoint("host", 1, SECRET, None),
        ClassifierApi("https://x", SECRET),
        HelloOptions(token=SECRET),
    ],
)
def test_a_repr_holds_no_secret(value: object) -> None:
    assert "hunter2" not in repr(value)


def test_an_error_for_people_holds_no_secret() -> None:
    address = f"rtsp://admin:{SECRET}@camera/x"
    error = VisionstackError(f"{address} cannot be opened.", remedy=f"Try {address} in VLC.")
    assert "hunter2" not in f"{error.message} {error.remedy} {error} {error!r}"
    assert "rtsp://***@camera/x" in error.message


def test_the_servers_log_lines_hold_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("INFO")
        try:
            int(f"http://u:{SECRET}@x")
        except ValueError:
            logging.getLogger("test").exception("from rtsp://u:%s@x token=%s", SECRET, SECRET)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    line = capsys.readouterr().err
    assert "hunter2" not in line
    assert json.loads(line)["level"] == "ERROR"


@pytest.mark.parametrize("how", ["error", "crash"])
def test_the_command_shows_no_password(how: str, tmp_path: Path) -> None:
    address = f"rtsp://admin:{SECRET}@127.0.0.1:9/x"
    program = "from visionstack.cli import main, stream_run\n"
    if how == "crash":
        program += (
            "from visionstack.stream import sources\n"
            "def broken(source): raise RuntimeError('cannot take ' + source)\n"
            "from visionstack.cli import stream\n"
            "import visionstack.stream.sources as s, visionstack.cli.stream_run as r\n"
            "s.open_source = broken\n"
            "for m in (stream, r):\n"
            "    m.__dict__.get('open_source') and setattr(m, 'open_source', broken)\n"
        )
    program += "main.main()\n"
    done = subprocess.run(
        [sys.executable, "-c", program, "stream", address, "--connect", "127.0.0.1:9",
         "--token", SECRET + "x" * 32],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert "hunter2" not in done.stdout + done.stderr
    if how == "crash":
        assert "RuntimeError: cannot take rtsp://***@127.0.0.1:9/x" in done.stderr
