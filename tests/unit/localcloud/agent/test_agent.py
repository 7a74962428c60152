"""The agent does what Auto Scaling, EC2 and a load balancer would, seen with small real servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stacks.catalog import Catalog
from visionstack import processes
from visionstack.cloud import local_defaults
from visionstack.cloud.local_fleet import Fleet, Instance, InstanceState
from visionstack.cloud.local_state import CloudFolder
from visionstack.localcloud import lifecycle
from visionstack.localcloud.agent.agent import Agent
from visionstack.localcloud.agent.groups import Group, Template
from visionstack.localcloud.agent.instance import Surroundings

SERVER = """
import http.server, os, pathlib, signal, socket, sys, threading
home = pathlib.Path(os.environ["VISIONSTACK_ROOT"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if (home / "unready").exists() else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
def leave(*_):
    (home.parent.parent / "drained").write_text("goaway")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
stream = socket.create_server(("127.0.0.1", int(os.environ["VISIONSTACK_STREAM_PORT"])))
def echo():
    while True:
        peer, _ = stream.accept()
        peer.sendall(home.parent.name.encode())
        peer.close()
threading.Thread(target=echo, daemon=True).start()
port = int(os.environ["VISIONSTACK_STREAM_HTTP_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""
USER_DATA = f"""#!/bin/bash
set -euo pipefail
ROOT="$VISIONSTACK_ROOT"
mkdir -p "$ROOT/bin"
echo VISIONSTACK_STREAM_DRAIN_SECONDS=20 > "$ROOT/stream.env"
cat > "$ROOT/server.py" <<'END'
{SERVER}
END
echo 'echo started; exec python3 "$VISIONSTACK_ROOT/server.py"' > "$ROOT/bin/start.sh"
touch "$ROOT/installed"
echo installing
exec bash "$ROOT/bin/start.sh"
"""
ANY_TYPE = "c7g.xlarge" if local_defaults.architecture() == "arm64" else "c7i.xlarge"
SERVES = Template(ANY_TYPE, USER_DATA)


class WantedGroups:
    """Groups as a test wants them."""

    def __init__(self, *groups: Group) -> None:
        self.groups = list(groups)

    def read(self) -> list[Group]:
        return self.groups


class RunningAgent:
    """An agent that a test steps by hand."""

    def __init__(self, folder: Path, groups: WantedGroups) -> None:
        self.folder = CloudFolder(folder)
        self.groups = groups
        surroundings = Surroundings(
            folder=self.folder,
            environment={"LANG": "C.UTF-8", "A_MARK": str(folder)},
            cloud_python=Path(sys.executable),
        )
        self.agent = Agent(groups, surroundings=surroundings, catalog=Catalog.load())

    def instances(self) -> dict[str, Instance]:
        return {one.id: one for one in Fleet.read(self.folder).instances}

    async def until(self, condition: Callable[[dict[str, Instance]], bool]) -> dict[str, Instance]:
        async with asyncio.timeout(60):
            while True:
                await self.agent.step()
                if condition(self.instances()):
                    return self.instances()
                await asyncio.sleep(0.02)

    async def healthy(self, count: int) -> dict[str, Instance]:
        return await self.until(
            lambda now: (
                sum(one.state is InstanceState.HEALTHY for one in now.values()) == count
                and len(now) == count
            )
        )

    def pid(self) -> int:
        """The one server's process."""
        (only,) = [
            one.pid
            for one in processes.marked("A_MARK", str(self.folder.root))
            if any("server.py" in part for part in _command(one.pid))
        ]
        return only


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningAgent]:
    made = RunningAgent(tmp_path, WantedGroups(Group("g", ("i-1",), SERVES)))
    yield made
    stop = asyncio.Event()
    stop.set()
    await made.agent.run(stop)
    assert processes.marked("A_MARK", str(tmp_path)) == []


async def _ask(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_an_instance_of_the_group_boots_by_its_user_data_and_is_served(
    running: RunningAgent,
) -> None:
    now = await running.healthy(1)

    (balancer,) = Fleet.read(running.folder).balancers
    assert await _ask(balancer.stream_port) == "i-1"
    assert "installing\nstarted\n" in Path(now["i-1"].log).read_text()


async def test_a_balancer_takes_turns_between_healthy_instances(running: RunningAgent) -> None:
    running.groups.groups = [Group("g", ("i-1", "i-2"), SERVES)]
    await running.healthy(2)

    (balancer,) = Fleet.read(running.folder).balancers
    answers = {await _ask(balancer.stream_port) for _ in range(4)}

    assert answers == {"i-1", "i-2"}
    assert balancer.healthy == 2


async def test_an_instance_that_fails_its_health_check_gets_no_new_connections(
    running: RunningAgent,
) -> None:
    running.groups.groups = [Group("g", ("i-1", "i-2"), SERVES)]
    await running.healthy(2)
    (running.folder.instances / "i-1" / "root" / "unready").touch()
    await running.until(lambda now: now["i-1"].state is InstanceState.UNHEALTHY)

    (balancer,) = Fleet.read(running.folder).balancers

    assert {await _ask(balancer.stream_port) for _ in range(3)} == {"i-2"}


async def test_a_server_that_was_killed_is_started_again_without_installing(
    running: RunningAgent,
) -> None:
    await running.healthy(1)
    os.kill(running.pid(), signal.SIGKILL)
    failed = await running.until(lambda now: now["i-1"].state is InstanceState.FAILED)

    again = await running.healthy(1)

    assert "killed by signal 9" in failed["i-1"].reason
    assert again["i-1"].boots == 2
    assert again["i-1"].reason == ""
    assert Path(again["i-1"].log).read_text().count("installing\n") == 1


async def test_a_failing_user_data_is_told_with_the_end_of_its_log(running: RunningAgent) -> None:
    broken = replace(SERVES, user_data=USER_DATA.replace("mkdir", "echo no space; false; mkdir"))
    running.groups.groups = [Group("g", ("i-1",), broken)]

    now = await running.until(lambda now: now["i-1"].state is InstanceState.FAILED)

    assert "exit code 1" in now["i-1"].reason
    assert "no space" in now["i-1"].reason


async def test_scale_in_drains_and_then_removes_the_folder(running: RunningAgent) -> None:
    await running.healthy(1)
    running.groups.groups = []

    await running.until(lambda now: not now and not Fleet.read(running.folder).balancers)

    assert (running.folder.instances / "drained").read_text() == "goaway"
    assert not (running.folder.instances / "i-1").exists()


async def test_a_new_launch_template_replaces_the_instance(running: RunningAgent) -> None:
    await running.healthy(1)
    newer = replace(SERVES, user_data=USER_DATA + "# version 2\n")
    running.groups.groups = [Group("g", ("i-1",), newer)]

    # Between the old one and the new one there is none.
    await running.until(
        lambda now: "i-1" not in now or now["i-1"].state is not InstanceState.HEALTHY
    )
    await running.healthy(1)

    script = (running.folder.instances / "i-1" / "user-data.sh").read_text()
    assert script.endswith("# version 2\n")


async def test_a_compared_instance_type_is_never_pretended(running: RunningAgent) -> None:
    measures = replace(SERVES, user_data=USER_DATA.replace("bin/start.sh", "bin/measure.sh"))
    running.groups.groups = [Group("compare", ("i-7",), measures)]

    now = await running.until(bool)

    assert now["i-7"].state is InstanceState.NOT_RUN
    assert "not available on this machine" in now["i-7"].reason
    assert ANY_TYPE in now["i-7"].reason
    assert processes.marked("A_MARK", str(running.folder.root)) == []


async def test_a_server_of_another_architecture_is_not_run(running: RunningAgent) -> None:
    other = "c7i.xlarge" if local_defaults.architecture() == "arm64" else "c7g.xlarge"
    running.groups.groups = [Group("g", ("i-1",), replace(SERVES, instance_type=other))]

    now = await running.until(bool)

    assert now["i-1"].state is InstanceState.NOT_RUN


async def test_groups_that_cannot_be_read_change_nothing(running: RunningAgent) -> None:
    await running.healthy(1)

    def fail() -> list[Group]:
        raise ConnectionError("the cloud is busy")

    running.groups.read = fail  # type: ignore[method-assign]
    await running.agent.step()

    assert running.instances()["i-1"].state is InstanceState.HEALTHY


def test_the_agent_is_told_the_python_of_the_users_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in another folder than the command; looked up from there, it would be another's."""
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> processes.ProcessId:
        started.append(command)
        return processes.ProcessId.of(os.getpid())

    monkeypatch.setattr(processes, "start_detached", start)
    monkeypatch.setattr(lifecycle.environment, "ensure", lambda: tmp_path / "python")
    monkeypatch.setattr(lifecycle.emulator, "start", lambda *_, **__: processes.ProcessId.of(1))
    lifecycle.up(port=1, folder=CloudFolder(tmp_path))
    assert started[0][-2:] == [str(tmp_path), str(tmp_path / "python")]
