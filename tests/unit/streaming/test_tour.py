"""The tour of docs/architecture.md against a frame that is answered."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from runtime.protocol.connection import Role, StreamProtocol
from runtime.protocol.messages import Encoding, Frame, Hello, Message, Result, Welcome
from runtime.protocol.options import HelloOptions
from runtime.streaming import supervision
from tests.unit.streaming.conftest import TOKEN, ServerFactory, picture

CHECKOUT = Path(__file__).resolve().parent.parent.parent.parent
TOUR = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEPS = TOUR.partition("In the server")[2].partition("The finished frame")[0]
ASIDE = TOUR.partition("On its way")[2].partition("\n\n")[0]
_FILE = re.compile(r"`(runtime/[\w./]+\.py|\w+\.py)`")


def named(text: str) -> list[str]:
    """Files in the order of the text; a bare name is beside the file that was named last."""
    found: list[str] = []
    for name in _FILE.findall(text):
        found.append(name if "/" in name else str(Path(found[-1]).with_name(name)))
    return found


def is_aside(frame: FrameType | None) -> bool:
    """Whether it is for the client here, or for the server's tasks beside its streams."""
    while frame is not None:
        if frame.f_code.co_filename in {__file__, supervision.__file__}:
            return True
        frame = frame.f_back
    return False


async def received(
    kind: type[Message], client: StreamProtocol, reader: asyncio.StreamReader
) -> None:
    """Read until there is a message of this kind."""
    while not any(isinstance(event, kind) for event in client.events()):
        data = await reader.read(65536)
        assert data, f"the connection ended before a {kind.__name__}"
        client.receive_data(data)


async def test_a_frame_meets_the_files_of_the_tour_in_its_order(
    running: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: dict[str, None] = {}
    following = threading.Event()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and following.is_set():
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(CHECKOUT / "runtime") and not is_aside(frame):
                entered[file.relative_to(CHECKOUT).as_posix()] = None

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        async with running() as one:
            client = StreamProtocol(Role.CLIENT)
            reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
            client.send(Hello(HelloOptions(token=TOKEN, policy="lossless")))
            writer.writelines(client.data_to_send())
            await received(Welcome, client, reader)
            client.send(Frame(0, 0, Encoding.PNG, picture(7)))
            frame = b"".join(client.data_to_send())
            following.set()
            writer.write(frame)
            await received(Result, client, reader)
            following.clear()
            writer.close()
    finally:
        threading.setprofile(None)
        sys.setprofile(None)

    steps = [file for file in named(STEPS) if file in entered]
    assert len(steps) >= 11
    assert [file for file in entered if file in steps] == steps
    servers = {f for f in entered if f.startswith(("runtime/streaming/", "runtime/protocol/"))}
    assert servers - {*named(STEPS), *named(ASIDE)} == set()
