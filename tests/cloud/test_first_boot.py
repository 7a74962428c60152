"""An instance's user data, asset and unit file under systemd, in a machine made of namespaces.

The deployed user data runs as cloud-init runs it: as root, with an instance's paths. What stands in
for AWS's: `aws` (the embedded cloud's, which copies from its S3), `dnf` (gives the Python that was
asked for; the machine's own says that it is 3.9, as Amazon Linux 2023's is), the metadata address,
and the role's credentials, which a drop-in of the unit gives. Not run here: the kernel and the
network are this machine's, and without a memory controller `MemoryMax` is set but holds nothing.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from runtime.contract import Env
from tests.cloud import machine
from tests.cloud.conftest import free_port
from tests.cloud.machine import Machine
from visionstack import paths
from visionstack.cloud import local_state
from visionstack.localcloud import aws
from visionstack.localcloud.agent import health
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.types import StreamAddress, StreamResult

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
UNIT = "visionstack-stream.service"
READY_S = 120
DYNAMIC_USERS = range(61184, 65520)
"""systemd.exec(5), DynamicUser=."""

AWS = """#!/bin/sh
echo "$*" >>/var/log/aws-calls
[ "$1" = s3 ] || exit 0
exec {python} {script} "$@"
"""
PYTHON3 = """#!/bin/sh
case "$*" in *"version_info[:2]"*) echo 3.9; exit;; esac
exec /opt/image/bin/python{version} "$@"
"""
DNF = r"""#!/bin/sh
echo "$*" >>/var/log/dnf-calls
printf '#!/bin/sh\nexec /opt/image/bin/python{version} "$@"\n' >/usr/local/bin/python{version}
chmod 755 /usr/local/bin/python{version}
"""
CURL = """#!/bin/sh
case "$*" in *instance-id*) echo i-0123456789abcdef0;; *api/token*) echo a-token;; *) exit 22;; esac
"""


class Instance:
    """The machine and what it was started with."""

    def __init__(self, cloud: EmbeddedCloud, folder: Path) -> None:
        (home,) = (
            one for one in cloud.folder.instances.iterdir() if (one / "root/bin/start.sh").exists()
        )
        served = psutil.Process(cloud.server_pid(home.name)).environ()
        cloud_names = ("AWS_", local_state.MARK_VARIABLE)
        self.cloud = {name: served[name] for name in served if name.startswith(cloud_names)}
        self.user_data = (home / "user-data.sh").read_text()
        self.port, self.http_port = free_port(), free_port()
        self.endpoint = StreamAddress(
            "127.0.0.1", self.port, cloud.stream.token, cloud.stream.fingerprint
        )
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.machine = Machine(
            folder,
            python=Path(sys.base_prefix),
            programs={
                "aws": AWS.format(
                    python=shlex.quote(str(paths.CLOUD_VENV / "bin" / "python")),
                    script=shlex.quote(str(Path(aws.__file__).resolve())),
                ),
                "python3": PYTHON3.format(version=version),
                "dnf": DNF.format(version=version),
                "curl": CURL,
            },
        )

    def environment(self) -> dict[str, str]:
        return {
            **self.cloud,
            Env.STREAM_HOST: "127.0.0.1",
            Env.STREAM_PORT: str(self.port),
            Env.STREAM_HTTP_PORT: str(self.http_port),
        }

    def grant(self) -> None:
        """What an instance's role gives it, and the address at which AWS answers."""
        # The Python that stands in for the image's may have been built to find its library where
        # the unit file hides it, below /root.
        given = {**self.cloud, "LD_LIBRARY_PATH": "/opt/image/lib"}
        lines = "".join(f'Environment="{name}={value}"\n' for name, value in given.items())
        folder = f"/etc/systemd/system/{UNIT}.d"
        text = shlex.quote(f"[Service]\n{lines}")
        done = self.machine.run(
            "bash", "-ec", f"mkdir -p {folder}; printf %s {text} >{folder}/role.conf"
        )
        assert done.returncode == 0, done.stderr

    def wait_until_ready(self) -> None:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if self.ready():
                return
            time.sleep(0.2)
        journal = self.machine.run("journalctl", "--no-pager", "--unit", UNIT).stdout
        raise AssertionError(f"no server answered:\n{journal[-3000:]}")

    def ready(self) -> bool:
        return asyncio.run(health.ready(self.http_port, tls=True))

    def main_pid(self) -> int:
        """Of the server, as the machine counts."""
        return int(self.machine.show(UNIT, "MainPID")["MainPID"])

    def labels(self) -> set[str]:
        async def detect() -> StreamResult:
            async with AsyncStreamClient(self.endpoint) as stream:
                return await stream.detect((paths.SAMPLES / "dog.jpg").read_bytes())

        return {one.label for one in asyncio.run(detect()).detections}


@pytest.fixture(scope="module")
def instance(
    embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    lacking = machine.lacking()
    if lacking is not None:
        pytest.skip(f"no first boot can be run here: {lacking}")
    one = Instance(embedded_cloud, tmp_path_factory.mktemp("instance") / "machine")
    try:
        one.machine.wait_until_up()
        one.grant()
        done = one.machine.run(
            "bash", "-c", one.user_data, environment=one.environment(), timeout=300
        )
        assert done.returncode == 0, one.machine.run("cat", "/var/log/visionstack-boot.log").stdout
        one.wait_until_ready()
        yield one
    finally:
        one.machine.end()


def test_the_first_boot_installs_and_serves_as_a_user_that_may_do_little(
    instance: Instance,
) -> None:
    assert {"dog", "bicycle"} <= instance.labels()
    run = instance.machine.run
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert run("cat", "/var/log/dnf-calls").stdout.split() == [
        *("install", "--quiet", "--assumeyes", f"python{version}")
    ]
    log = run("cat", "/var/log/visionstack-boot.log").stdout
    assert log.splitlines()[-1].startswith("visionstack: the boot ended with exit code 0")
    assert "put-log-events" in run("cat", "/var/log/aws-calls").stdout

    pid = instance.main_pid()
    status = dict(
        line.split(":\t", 1)
        for line in run("cat", f"/proc/{pid}/status").stdout.splitlines()
        if ":\t" in line
    )
    assert int(status["Uid"].split()[0]) in DYNAMIC_USERS
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapBnd"], 16) == 0
    assert status["Seccomp"] == "2"
    mounts = run("cat", f"/proc/{pid}/mounts").stdout.splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/var/lib/private/visionstack"]
    # Whoever started this machine may have held it to fewer, which its init then cannot raise.
    ((_, most),) = _descriptors(run("cat", "/proc/1/limits").stdout)
    expected = min(65536, most)
    assert _descriptors(run("cat", f"/proc/{pid}/limits").stdout) == [(expected, expected)]


def test_a_server_that_is_killed_starts_again(instance: Instance) -> None:
    before = instance.main_pid()
    assert instance.machine.run("kill", "-KILL", str(before)).returncode == 0
    _until(lambda: instance.main_pid() not in (0, before))
    instance.wait_until_ready()
    assert int(instance.machine.show(UNIT, "NRestarts")["NRestarts"]) >= 1
    assert "dog" in instance.labels()


def test_a_restart_is_a_drain_and_a_start(instance: Instance) -> None:
    before = instance.main_pid()
    assert instance.machine.run("systemctl", "restart", UNIT).returncode == 0
    assert instance.main_pid() != before
    instance.wait_until_ready()


def test_a_stop_answers_what_was_sent_and_ends_well(instance: Instance) -> None:
    frames = 12
    picture = (paths.SAMPLES / "dog.jpg").read_bytes()

    async def answered_over_a_stop() -> int:
        async with AsyncStreamClient(
            instance.endpoint, policy="lossless", patience=Patience(give_up=5)
        ) as stream:
            for _ in range(min(frames, stream.server.window)):
                await stream.send(picture)
            sent = stream.counts.submitted
            stop = asyncio.create_task(
                asyncio.to_thread(instance.machine.run, "systemctl", "stop", UNIT)
            )
            answers = [await stream.answer() for _ in range(sent)]
        assert (await stop).returncode == 0
        assert all(isinstance(one, StreamResult) for one in answers)
        return sent - len(answers)

    assert asyncio.run(answered_over_a_stop()) == 0
    told = instance.machine.show(
        UNIT, "ActiveState", "Result", "ExecMainStatus", "TimeoutStopUSec", "MemoryMax"
    )
    assert (told["ActiveState"], told["Result"], told["ExecMainStatus"]) == (
        "inactive",
        "success",
        "0",
    )
    # SMALL_SETTINGS drains for 30 s; systemd waits 15 s longer.
    assert told["TimeoutStopUSec"] == "45s"
    total = psutil.virtual_memory().total
    assert 0.89 * total < int(told["MemoryMax"]) < 0.91 * total


def test_after_a_reboot_the_server_comes_up_without_the_user_data(instance: Instance) -> None:
    before = instance.machine.wait_until_up()
    calls = instance.machine.run("cat", "/var/log/aws-calls").stdout
    instance.machine.run("systemctl", "reboot")
    instance.machine.wait_until_up(after=before)
    instance.wait_until_ready()
    assert {"dog", "bicycle"} <= instance.labels()
    assert instance.machine.run("cat", "/var/log/aws-calls").stdout == calls


def _until(true: Callable[[], bool], patience_s: float = 60) -> None:
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.2)


def _descriptors(limits: str) -> list[tuple[int, int]]:
    """Soft and hard, of what /proc/PID/limits says."""
    return [(int(a), int(b)) for a, b in re.findall(r"Max open files +(\d+) +(\d+)", limits)]
