"""The embedded cloud answers this machine's own programs and no web page."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from visionstack import processes
from visionstack.cloud import local_state
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud import emulator, environment, guarded_emulator
from visionstack.localcloud.guarded_emulator import (
    ProcessesWithOwnTmp,
    admits_its_user,
    guarded,
    user_at,
    users_are_told,
)

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
    with pytest.MonkeyPatch.context() as patch:
        # The clouds of `tests/cloud` let other users in, by the environment of the same process.
        patch.delenv(local_state.USERS_VARIABLE, raising=False)
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


needs_the_table = pytest.mark.skipif(
    not users_are_told(), reason="this system does not say whose a connection is"
)
OTHER_USER = 65534


@needs_the_table
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_is_refused_and_creates_no_function(
    running: RunningEmulator,
) -> None:
    """They would run programs as the user who started it, and read all that it holds."""
    asks = (
        "import http.client, sys\n"
        "one = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=30)\n"
        f"one.request('GET', '{FUNCTIONS}', headers={signed('lambda')!r})\n"
        "print(one.getresponse().status, end='')\n"
    )
    told = [
        subprocess.run(
            ["/usr/bin/env", "python3", "-c", asks, str(running.port)],
            user=user, capture_output=True, text=True, check=True, cwd="/",
        ).stdout
        for user in (OTHER_USER, os.getuid())
    ]  # fmt: skip
    assert told == ["403", "200"]


def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uid: int, inode: int) -> Any:
    """A request over a connection that the system's table gives to `uid`."""
    row = f"   0: 0100007F:D431 0100007F:11D6 01 0:0 00:0 0 {uid} 0 {inode} 1 0 20 4 0 10 -1"
    if sys.byteorder == "big":
        row = row.replace("0100007F", "7F000001")
    (tmp_path / "tcp").write_text(f"  sl  local_address rem_address\n{row}\n")
    monkeypatch.setattr(guarded_emulator, "_CONNECTIONS", tmp_path / "tcp")
    return {"client": ("127.0.0.1", 0xD431), "server": ("127.0.0.1", 0x11D6)}


@pytest.mark.parametrize(
    ("uid", "inode", "admitted"),
    [
        (os.getuid(), 7, True),
        (0, 7, True),
        (OTHER_USER, 7, False),
        (0, 0, False),  # closed by its program, whose it was is no longer told
    ],
)
async def test_whose_a_connection_is_decides_whether_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, inode: int, admitted: bool
) -> None:
    scope = listed(tmp_path, monkeypatch, uid=uid, inode=inode)
    assert admits_its_user(scope) is admitted
    assert not admits_its_user({**scope, "client": ("127.0.0.1", 1)}), "a connection that is gone"
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    async def send(message: Any) -> None:
        seen.append(str(message.get("status")))

    scope |= {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    await guarded(app, admits=admits_its_user)(scope, app, send)
    assert seen[0] == ("/" if admitted else "403")


@needs_the_table
def test_whose_a_connection_is_is_read_from_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        with socket.create_connection(place) as client:
            mine = client.getsockname()
            assert user_at(mine, place) == os.getuid()
        taken, _ = server.accept()
        with taken:
            assert user_at(mine, place) is None, "its program has closed it"


def test_where_the_system_does_not_tell_nobody_is_refused_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_emulator, "_CONNECTIONS", tmp_path / "none")
    assert not users_are_told()


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


PAGE = "https://127.0.0.1:8443"
FORM = "multipart/form-data; boundary=x"
RULES = (
    "<CORSConfiguration><CORSRule><AllowedMethod>POST</AllowedMethod>"
    f"<AllowedOrigin>{PAGE}</AllowedOrigin></CORSRule></CORSConfiguration>"
)


def refused(answered: tuple[HTTPResponse, bytes]) -> bool:
    return answered[0].status == 403 and b"programs of this machine only" in answered[1]


def test_a_bucket_takes_uploads_from_the_pages_that_its_rules_name(
    running: RunningEmulator,
) -> None:
    assert running.ask("PUT", "/pictures", headers=signed("s3"))[0].status == 200
    upload = {"Content-Type": FORM}
    assert refused(running.ask("POST", "/pictures", headers={**upload, "Origin": PAGE}))
    done, _ = running.ask("PUT", "/pictures?cors", body=RULES, headers=signed("s3"))
    assert done.status == 200
    named, body = running.ask("POST", "/pictures", headers={**upload, "Origin": PAGE})
    assert not refused((named, body))
    assert named.headers["Access-Control-Allow-Origin"] == PAGE
    other = {**upload, "Origin": "https://other.example"}
    assert refused(running.ask("POST", "/pictures", headers=other))
    for method, path, kind in (
        ("POST", "/pictures?delete", FORM),
        ("POST", "/pictures/key", FORM),
        ("POST", "/pictures", "text/plain"),
        ("PUT", "/pictures", FORM),
    ):
        asked = running.ask(method, path, headers={"Content-Type": kind, "Origin": PAGE})
        assert refused(asked), (method, path, kind)


@pytest.mark.parametrize(
    ("method", "path", "key", "answered"),
    [
        ("OPTIONS", "/_aws/execute-api/0a1b2c3d/v1/images", {}, True),
        ("POST", "/_aws/execute-api/0a1b2c3d/v1/images", {"x-api-key": "any"}, True),
        ("POST", "/_aws/execute-api/0a1b2c3d/v1/images", {}, False),
        ("POST", "/_aws/execute-api/../restapis", {"x-api-key": "any"}, False),
        ("OPTIONS", "/restapis", {}, False),
    ],
)
def test_a_deployed_api_itself_says_which_pages_it_lets_in(
    running: RunningEmulator, method: str, path: str, key: dict[str, str], answered: bool
) -> None:
    asked = running.ask(method, path, headers={"Origin": PAGE, **key})
    assert refused(asked) is not answered
    # There is no such API, so nobody allowed the page to read that.
    assert asked[0].headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("rest", ["", "zz", "0a1b2c3d", "0a1b2c3d/", "/v1/images", "0a1b2c3d//x"])
def test_a_page_of_somebody_else_reads_no_secret_by_an_address_like_an_apis(
    running: RunningEmulator, rest: str
) -> None:
    """MiniStack takes these for calls of the service that a header names."""
    secrets = {"Content-Type": "application/x-amz-json-1.1", **signed("secretsmanager")}
    made = {**secrets, "X-Amz-Target": "secretsmanager.CreateSecret"}
    document = json.dumps({"Name": f"token{rest}", "SecretString": "secret"})
    assert running.ask("POST", "/", body=document, headers=made)[0].status == 200
    wanted = {
        **secrets,
        "X-Amz-Target": "secretsmanager.GetSecretValue",
        "Origin": "https://evil.example",
        "x-api-key": "any",
    }
    for method in ("OPTIONS", "POST"):
        body = json.dumps({"SecretId": f"token{rest}"})
        asked = running.ask(method, f"/_aws/execute-api/{rest}", body=body, headers=wanted)
        assert refused(asked), method


def test_every_environment_has_a_tmp_of_its_own(tmp_path: Path) -> None:
    told = "import os, subprocess; print(os.environ['TMPDIR'], os.environ['KEPT'], end='')"
    places = []
    for name in ("one", "other"):
        code = tmp_path / name / "code"
        code.mkdir(parents=True)
        process = ProcessesWithOwnTmp().Popen(
            [sys.executable, "-c", told],
            cwd=str(code),
            env={"TMPDIR": str(tmp_path), "KEPT": "kept"},
            stdout=subprocess.PIPE,
            text=True,
        )
        out, _ = process.communicate()
        place, kept = out.split(" ")
        assert kept == "kept"
        assert Path(place).is_dir()
        assert Path(place).parent == tmp_path / name, "removed with the environment"
        places.append(place)
    assert len(set(places)) == 2
