"""The embedded cloud answers this machine's own programs and no web page."""

from __future__ import annotations

import base64
import io
import json
import socket
import stat
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from visionstack import processes
from visionstack.cloud import local_state
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud import emulator, environment
from visionstack.localcloud.guarded_emulator import guarded

FUNCTIONS = "/2015-03-31/functions"


def signed(service: str) -> dict[str, str]:
    """As an SDK signs; the signature itself is not looked at."""
    scope = f"test/20260101/us-east-1/{service}/aws4_request"
    signature = f"Credential={scope}, SignedHeaders=host, Signature=0"
    return {"Authorization": f"AWS4-HMAC-SHA256 {signature}"}


class RunningEmulator:
    """MiniStack as `local up` starts it, asked by plain HTTP."""

    def __init__(self, folder: CloudFolder, port: int) -> None:
        self.folder = folder
        self.port = port

    def ask(
        self, method: str, path: str, *, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def create_function(self, name: str, headers: dict[str, str]) -> int:
        """As a page does it without a preflight: a plain text body, no header of its own."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("index.py", "def handler(event, context):\n    return 1\n")
        wanted = {
            "FunctionName": name,
            "Runtime": "python3.11",
            "Role": "arn:aws:iam::000000000000:role/any",
            "Handler": "index.handler",
            "Code": {"ZipFile": base64.b64encode(packed.getvalue()).decode()},
        }
        plain = {"Content-Type": "text/plain"} | headers
        answer, _ = self.ask("POST", FUNCTIONS, body=json.dumps(wanted), headers=plain)
        return answer.status

    def functions(self) -> list[str]:
        answer, body = self.ask("GET", FUNCTIONS, headers=signed("lambda"))
        assert answer.status == 200
        return [one["FunctionName"] for one in json.loads(body)["Functions"]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    folder = CloudFolder(tmp_path_factory.mktemp("cloud"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = emulator.start(folder, python=environment.ensure(), port=port)
    yield RunningEmulator(folder, port)
    processes.stop(process, grace_s=emulator.STOP_GRACE_S)


def test_a_program_of_this_machine_creates_a_function(running: RunningEmulator) -> None:
    assert running.create_function("honest", signed("lambda")) == 201
    assert "honest" in running.functions()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:4566"},
        {"Host": "192.168.0.1:4566"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda headers: "-".join(*headers.items()),
)
def test_a_page_of_somebody_else_creates_no_function(
    running: RunningEmulator, headers: dict[str, str]
) -> None:
    assert running.create_function("foreign", headers) == 403
    assert "foreign" not in running.functions()


def test_a_second_host_header_does_not_hide_the_first(running: RunningEmulator) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        connection.sendall(
            f"GET {FUNCTIONS} HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        status = connection.makefile("rb").readline()
    assert status.split()[1] in {b"400", b"403"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "a1b2.execute-api.localhost"]
)
def test_names_of_this_machine_are_answered(running: RunningEmulator, host: str) -> None:
    answer, _ = running.ask(
        "GET",
        "/_ministack/health",
        headers={"Host": f"{host}:{running.port}", "Sec-Fetch-Site": "none"},
    )
    assert answer.status == 200


def test_no_page_is_allowed_to_read_an_answer(running: RunningEmulator) -> None:
    for method, headers in (
        ("GET", signed("lambda")),
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": "http://x"}),
    ):
        answer, _ = running.ask(method, FUNCTIONS, headers=headers)
        assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


@pytest.mark.parametrize(
    ("origin", "reached"),
    [(None, True), ("http://localhost:4566", True), ("https://evil.example", False)],
)
async def test_a_page_of_somebody_else_opens_no_websocket(
    origin: str | None, reached: bool
) -> None:
    seen: list[str] = []
    sent: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    headers = [(b"host", b"localhost:4566")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    await guarded(app)({"type": "websocket", "headers": headers}, receive, send)

    assert (seen, sent) == ((["websocket"], []) if reached else ([], ["websocket.close"]))


def test_a_refusal_says_what_was_refused(running: RunningEmulator) -> None:
    answer, body = running.ask("GET", "/", headers={"Host": "evil.example"})
    assert answer.status == 403
    assert "evil.example" in json.loads(body)["message"]


def test_what_it_writes_is_its_owners_alone(running: RunningEmulator) -> None:
    running.ask("PUT", "/a-bucket", headers=signed("s3"))
    answer, _ = running.ask("PUT", "/a-bucket/key", body="secret", headers=signed("s3"))
    assert answer.status == 200
    local_state.write_json(running.folder.state, {})
    assert stat.S_IMODE(running.folder.root.stat().st_mode) == 0o700
    written = [path for path in running.folder.root.rglob("*") if not path.is_symlink()]
    assert {path.name for path in written} >= {"emulator.log", "cloud.json", "key"}
    readable = [path for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert readable == []
