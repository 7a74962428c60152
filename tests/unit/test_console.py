"""What others wrote cannot steer the terminal that it is shown on."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from visionstack import console

HOSTILE = "dog\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\r\u202egod\x7f"
SHOWN = "dog\u241b]52;c;aGk=\u241b[2J\ufffd31m\ufffdgod\ufffd"
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def shown(what: Any, *, like: Console, **options: Any) -> str:
    """What comes out at a terminal, without Rich's own colours."""
    file = io.StringIO()
    type(like)(highlight=False, file=file, force_terminal=True, width=80).print(what, **options)
    return STYLE.sub("", file.getvalue())


def in_a_table(cell: Any) -> Table:
    table = Table(box=None)
    table.add_column("class")
    table.add_row(cell)
    return table


@pytest.mark.parametrize("like", [console.out, console.err], ids=["stdout", "stderr"])
@pytest.mark.parametrize("what", [HOSTILE, Text(HOSTILE), in_a_table(HOSTILE)], ids=type)
def test_control_characters_of_others_are_shown_and_not_sent(what: Any, like: Console) -> None:
    told = shown(what, like=like, markup=False)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told), repr(told)
    if not isinstance(what, Text):
        # Rich itself leaves bells and carriage returns out.
        assert SHOWN in told.replace("\u2407", "").replace("\u240d", "")


def test_words_colours_and_lines_stay_as_they_are() -> None:
    told = shown("[red]Käse 犬 \u200f[/]\n\tnext", like=console.out)
    assert told == "Käse 犬 \u200f\n        next\n"


@pytest.mark.parametrize("tell", [console.print_json, console.print_json_line])
def test_json_holds_every_sign_and_sends_none(
    tell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tell({"label": HOSTILE, "name": "Käse"})
    told = capsys.readouterr().out
    assert json.loads(told) == {"label": HOSTILE, "name": "Käse"}
    assert "Käse" in told
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told), repr(told)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("tell", [console.print_json, console.print_json_line])
def test_json_of_any_file_name_fits_every_output(
    tell: Any, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # surrogateescape is what Python's stdout has in the C locale: it would write broken UTF-8.
    name = os.fsdecode("日本 grün".encode() + b"\xfc.jpg") + "\x7f"
    for errors in ("strict", "surrogateescape"):
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding, errors))
        tell({"name": name})
        assert json.loads(raw.getvalue().decode(encoding)) == {"name": name}
        assert b"\x7f" not in raw.getvalue()


def test_a_table_of_any_file_name_fits_every_output(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode("日本".encode() + b"\xfc.jpg")).touch()
    program = (
        "import sys, os\n"
        "from visionstack.cli import main, models\n"
        "from visionstack import console\n"
        "main.app = lambda: console.out.print(os.listdir(sys.argv[1])[0])\n"
        "main.main()\n"
    )
    for encoding, told in (
        ("utf-8", "日本\ufffd.jpg\n"),
        ("ascii", r"\u65e5\u672c\ufffd.jpg" "\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode(encoding) == told
