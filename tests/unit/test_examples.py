"""The programs in examples/ run, as a newcomer runs them."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.unit.streaming.conftest import TOKEN, ServerFactory, running

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
__all__ = ["running"]


async def run(program: str, *arguments: str) -> str:
    """What it prints; it must end well."""
    path = str(EXAMPLES / program)
    command = [sys.executable, path] if program.endswith(".py") else [path]
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=EXAMPLES.parent,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """Ten grey frames."""
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(10):
        writer.write(np.full((48, 64, 3), 7, np.uint8))
    writer.release()
    return path


def test_the_readme_lists_every_example() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh", ".ipynb"}}
    assert len(names) == 5
    assert all(f"({name})" in listed for name in names)


async def test_a_cameras_objects_are_printed(running: ServerFactory, clip: str) -> None:
    async with running() as one:
        where = f"{one.address.host}:{one.address.port}"
        out = await run("camera.py", where, TOKEN, clip)
    assert " at (" in out
    assert "#" in out


@pytest.fixture
async def rtsp(tmp_path: Path) -> AsyncIterator[str]:
    """Address of an H.264 clip of 20 frames, played by RTSP with RTP in its TCP connection."""
    if importlib.util.find_spec("aio_rtsp_toolkit") is None:
        pytest.skip(
            "no RTSP server: pip install --no-deps --require-hashes -r .ci/rtsp-server.lock"
        )
    published = tmp_path / "published"
    published.mkdir()
    with av.open(str(published / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("h264", rate=10, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            picture = np.full((48, 64, 3), 7, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        port, control = one.getsockname()[1], two.getsockname()[1]
    serve = (
        "import asyncio, sys, aio_rtsp_toolkit.server as server\n"
        "folder, port, control = sys.argv[1:]\n"
        "asyncio.run(server.serve(folder, '127.0.0.1', int(port), control_port=int(control)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", serve, str(published), str(port), str(control)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
        yield f"rtsp://127.0.0.1:{port}/clip.mp4"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("program", ["camera.py", "many_cameras.py"])
async def test_a_network_cameras_stream_is_read_by_rtsp(
    running: ServerFactory, rtsp: str, program: str
) -> None:
    async with running() as one:
        out = await run(program, f"{one.address.host}:{one.address.port}", TOKEN, rtsp)
    # A live stream may drop any but the last; the fake detector says which grey it saw.
    assert re.search(r"\b19: grey", out)
    assert len(set(re.findall(r"grey (\d+)", out))) == 1


async def test_a_folders_pictures_are_all_in_the_table(
    running: ServerFactory,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 7, np.uint8))
    async with running() as one:
        out = await run("folder.py", f"{one.address.host}:{one.address.port}", TOKEN, str(folder))
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["file"] for row in rows} == {"a.jpg", "b.png"}
    assert all(float(row["x2"]) > float(row["x1"]) for row in rows)


async def test_several_sources_are_streamed_side_by_side(
    running: ServerFactory,
    clip: str,
    tmp_path: Path,
) -> None:
    other = shutil.copy(clip, tmp_path / "other.avi")
    async with running() as one:
        where = f"{one.address.host}:{one.address.port}"
        out = await run("many_cameras.py", where, TOKEN, clip, str(other))
    assert f"{clip} " in out
    assert f"{other} " in out


async def test_the_notebooks_cells_run_one_after_the_other(
    running: ServerFactory, clip: str, tmp_path: Path
) -> None:
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    # A cell's last line is its answer, as Jupyter shows it.
    shown = "print(repr(" + cells[-2].splitlines()[-1] + "), len(milliseconds))"
    program = tmp_path / "notebook.py"
    program.write_text("\n".join([*cells, shown]), encoding="utf-8")
    async with running() as one:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=EXAMPLES.parent,
            env={
                **os.environ,
                "VISIONSTACK_ADDRESS": f"{one.address.host}:{one.address.port}",
                "VISIONSTACK_STREAM_TOKEN": TOKEN,
                "VISIONSTACK_SOURCE": clip,
                "MPLBACKEND": "agg",
                "PYTHONPATH": str(EXAMPLES.parent),
            },
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    counts, _, frames = out.decode().strip().rpartition(" ")
    assert frames == "10"
    assert counts.startswith("[('")
    assert all(one["outputs"] == [] for one in notebook["cells"] if one["cell_type"] == "code")


async def test_a_photo_is_sent_by_curl_with_the_key(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    calls: list[tuple[str, str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((self.path, self.headers["x-api-key"], self.headers["Content-Type"], body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"TOP1_label": "Pug"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8 a photo")
    try:
        out = await run(
            "classify.sh", f"http://127.0.0.1:{server.server_port}/v1", "a key", str(photo)
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert calls == [("/v1/recognitions", "a key", "image/jpeg", photo.read_bytes())]
    assert json.loads(out) == {"TOP1_label": "Pug"}
