"""State files: read whatever happened to them, never half written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from visionstack.cloud import local_state
from visionstack.cloud.local_fleet import Balancer, Fleet, Instance, InstanceState
from visionstack.cloud.local_state import CloudFolder, CloudState
from visionstack.errors import UsageError
from visionstack.localcloud import emulator, lifecycle
from visionstack.localcloud.errors import PortTakenError
from visionstack.processes import ProcessId


@pytest.fixture
def folder(tmp_path: Path) -> CloudFolder:
    return CloudFolder(tmp_path)


def test_what_was_written_is_read(folder: CloudFolder) -> None:
    written = CloudState(4567, ProcessId(10, 1.5), ProcessId(11, 2.5))

    written.write(folder)

    assert CloudState.read(folder) == written


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": "4566"}', '{"port": 1, "emulator": 2}'])
def test_a_damaged_state_file_counts_as_none(folder: CloudFolder, text: str) -> None:
    folder.state.write_text(text)

    assert CloudState.read(folder) is None


def test_a_state_whose_pid_was_reused_is_not_running(folder: CloudFolder) -> None:
    mine = ProcessId.of(os.getpid())
    CloudState(4566, ProcessId(mine.pid, mine.started - 100), None).write(folder)

    assert local_state.running(folder) is None
    assert lifecycle.status(folder).cloud == "down"


def test_status_of_a_dead_cloud_says_how_it_ended(folder: CloudFolder) -> None:
    CloudState(4566, ProcessId(2**22 - 1, 1.0), None).write(folder)

    told = lifecycle.status(folder).to_json()

    assert told["cloud"] == "down"
    assert told["endpoint"] is None
    assert "visionstack local deploy" in told["note"]


def test_down_where_nothing_ever_was_stops_nothing(tmp_path: Path) -> None:
    folder = CloudFolder(tmp_path / "never")

    assert lifecycle.down(folder=folder) is False
    assert not folder.root.exists()


def test_down_kills_nothing_when_the_pid_is_somebody_elses(folder: CloudFolder) -> None:
    mine = ProcessId.of(os.getpid())
    CloudState(4566, ProcessId(mine.pid, mine.started - 100), None).write(folder)

    assert lifecycle.down(folder=folder) is False


def test_the_fleet_survives_its_file(folder: CloudFolder) -> None:
    fleet = Fleet(
        instances=[
            Instance("i-1", "g", "c7i.xlarge", InstanceState.HEALTHY, 1, 2, "log", 1, 3.0, "")
        ],
        balancers=[Balancer("g", "127.0.0.1", 5, 6, 1)],
        groups_read=7.0,
    )

    fleet.write(folder)

    assert Fleet.read(folder) == fleet


def test_a_port_that_somebody_has_is_refused_and_its_owner_named(folder: CloudFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]

        with pytest.raises(PortTakenError) as caught:
            emulator.start(folder, python=Path("python"), port=port)

    assert str(port) in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    assert f"--port {port + 1}" in (caught.value.remedy or "")


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "4566.0"])
def test_a_port_variable_that_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="VISIONSTACK_CLOUD_PORT"):
        local_state.chosen_port({local_state.PORT_VARIABLE: text})


def test_the_port_is_4566_unless_said_otherwise() -> None:
    assert local_state.chosen_port({}) == 4566
    assert local_state.chosen_port({local_state.PORT_VARIABLE: "4777"}) == 4777
