"""The embedded cloud as a thing that is started, found, taken for granted and stopped."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from visionstack import processes
from visionstack.cloud import local_state
from visionstack.cloud.local_state import CloudFolder, CloudState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud


def test_a_second_up_says_that_it_is_up_and_starts_nothing(embedded_cloud: EmbeddedCloud) -> None:
    before = CloudState.read(embedded_cloud.folder)

    done = embedded_cloud.visionstack("local", "up")

    assert done.returncode == 0
    assert "already up" in done.stdout
    assert CloudState.read(embedded_cloud.folder) == before


def test_a_second_up_on_another_port_is_refused(embedded_cloud: EmbeddedCloud) -> None:
    done = embedded_cloud.visionstack("local", "up", "--port", "4999")

    assert done.returncode == 1
    assert str(embedded_cloud.port) in done.stderr


def test_everything_listens_on_loopback_only(embedded_cloud: EmbeddedCloud) -> None:
    import psutil

    mine = processes.marked(local_state.MARK_VARIABLE, str(embedded_cloud.folder.root))
    assert mine
    listening = [
        connection.laddr.ip
        for one in mine
        for connection in psutil.Process(one.pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_a_foreign_program_on_the_port_is_named_and_left_alone(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        monkeypatch.setenv(local_state.FOLDER_VARIABLE, str(tmp_path))

        done = embedded_cloud.visionstack("local", "up", "--port", str(port))

        assert done.returncode == 1
        assert f"Port {port} is taken" in done.stderr
        assert "--port" in done.stderr
        socket.create_connection(("127.0.0.1", port)).close()


def test_another_embedded_cloud_beside_it_leaves_no_process_behind(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(local_state.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.delenv(local_state.PORT_VARIABLE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    up = embedded_cloud.visionstack("local", "up", "--port", str(port))
    started = processes.marked(local_state.MARK_VARIABLE, str(tmp_path))
    down = embedded_cloud.visionstack("local", "down")

    assert (up.returncode, down.returncode) == (0, 0), up.stderr + down.stderr
    assert len(started) >= 2
    assert processes.marked(local_state.MARK_VARIABLE, str(tmp_path)) == []
    assert CloudState.read(CloudFolder(tmp_path)) is None


def client(cloud: CloudState, service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=cloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def test_a_cloud_whose_emulator_was_killed_is_told_down_and_comes_up_again(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(local_state.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.delenv(local_state.PORT_VARIABLE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    try:
        assert embedded_cloud.visionstack("local", "up", "--port", port).returncode == 0
        first = CloudState.read(CloudFolder(tmp_path))
        assert first is not None
        client(first, "s3").create_bucket(Bucket="kept")
        client(first, "s3").put_object(Bucket="kept", Key="a", Body=b"a")
        assert embedded_cloud.visionstack("local", "down").returncode == 0
        assert embedded_cloud.visionstack("local", "up", "--port", port).returncode == 0
        second = CloudState.read(CloudFolder(tmp_path))
        assert second is not None
        client(second, "s3").create_bucket(Bucket="of-a-stack-that-is-lost")
        client(second, "s3").put_object(Bucket="of-a-stack-that-is-lost", Key="a", Body=b"a")
        processes.kill([second.emulator])

        told = embedded_cloud.json("local", "status")
        again = embedded_cloud.visionstack("local", "up", "--port", port)

        assert told["cloud"] == "down"
        s3 = client(first, "s3")
        assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["kept"]
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"a"
        assert "without `visionstack local down`" in told["note"]
        assert again.returncode == 0, again.stderr
    finally:
        embedded_cloud.visionstack("local", "down")
    assert processes.marked(local_state.MARK_VARIABLE, str(tmp_path)) == []
