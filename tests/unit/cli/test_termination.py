from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, time
from visionstack.cli import main as cli

@cli.app.command()
def changes():
    try:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        time.sleep(30)
    finally:
        print("put back", flush=True)

sys.argv = ["visionstack", "changes"]
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_terminated_puts_back_what_it_changed(number: signal.Signals) -> None:
    # The tests themselves may run under nohup.
    heeding = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", heeding],
        env={**os.environ, "SIGNAL": str(int(number))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("put back\n", 128 + number)


def test_a_command_under_nohup_outlives_its_terminal() -> None:
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", ignoring.replace("time.sleep(30)", "print('went on')")],
        env={**os.environ, "SIGNAL": str(int(signal.SIGHUP))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("went on\nput back\n", 0)


def test_who_interrupts_a_command_is_told_that_it_was() -> None:
    # A test run in a shell's background has interrupts ignored, and hands that down.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", heeding],
        env={**os.environ, "SIGNAL": str(int(signal.SIGINT))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("put back\n", "interrupted\n", 130)
