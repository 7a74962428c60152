"""The programs in docs/streaming-client.md run, and its tables name what there is."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest

import visionstack.stream
from tests.unit.streaming.conftest import TOKEN, ServerFactory, picture
from visionstack.paths import IMPORT_ROOT
from visionstack.stream import AsyncStreamClient, StreamAddress, StreamClient
from visionstack.stream.client import StreamOptions

PAGE = (IMPORT_ROOT / "docs" / "streaming-client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(program: str, address: StreamAddress) -> None:
    """The program against a server of ours, with the names that it leaves to its reader."""
    given: dict[str, Any] = {"token": TOKEN, "pictures": [picture(n) for n in (7, 8, 9)]}
    given["address"] = address
    own = f"StreamAddress({address.host!r}, {address.port}, token)"
    exec(re.sub(r"StreamAddress\(\"[^)]*\)", own, program), given)  # noqa: S102 - our own page


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
async def test_the_programs_of_the_page_run(
    running: ServerFactory, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert len(PROGRAMS) == 2
    async with running() as one:
        await asyncio.to_thread(run, PROGRAMS[number], one.address)
    told = capsys.readouterr().out
    answered = re.findall(r"(?:^|\(sequence=)(\d)\b", told, re.MULTILINE)
    assert sorted(answered) == ["0", "1", "2"]
    # A live stream may drop all but the last.
    assert "grey 9" in told


@pytest.mark.parametrize("client", [StreamClient, AsyncStreamClient])
def test_the_page_lists_every_argument_with_its_default(client: type[Any]) -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", PAGE, re.MULTILINE)
    told: dict[str, str] = {}
    for names, defaults in rows:
        values = defaults.replace("`", "").split(", ")
        listed = re.findall(r"`(\w+)`", names)
        told |= dict(zip(listed, values if len(values) == len(listed) else [], strict=False))
    parameters = inspect.signature(client).parameters
    if "options" in parameters:  # the blocking client hands them on to the other
        parameters = inspect.signature(AsyncStreamClient).parameters
    assert parameters.keys() - {"endpoint"} == StreamOptions.__annotations__.keys()
    for name, parameter in parameters.items():
        if name == "endpoint":
            continue
        assert name in told
        if isinstance(parameter.default, str | float | int) and not isinstance(
            parameter.default, bool
        ):
            assert told[name] == str(parameter.default)


def test_every_error_and_answer_of_the_package_is_on_the_page() -> None:
    for name in visionstack.stream.__all__:
        if name != "StreamDetection":
            assert name in PAGE, name


def test_the_package_says_where_the_page_is() -> None:
    assert "docs/streaming-client.md" in str(visionstack.stream.__doc__)
