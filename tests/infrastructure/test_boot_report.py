"""How a stream server's first boot is told of: the synthesized user data, run by bash.

`aws`, `curl` and the asset's scripts stand in for AWS's; an instance's paths are moved to a folder.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runtime.contract import Env
from tests.infrastructure.test_streaming_stack import GROUP, STACK, TEMPLATE

INSTANCE = "i-0123456789abcdef0"
AWS = """#!/bin/bash
echo "$*" >> "$CALLS"
if [ "$1" = s3 ]; then
  [ -z "$REFUSED" ] || { echo "fatal error: AccessDenied"; exit 1; }
  cp "$ASSET" "$4"
fi
for word in "$@"; do case "$word" in file://*) cp "${word#file://}" "$EVENTS";; esac; done
"""
CURL = f"""#!/bin/bash
case "$*" in *instance-id*) echo {INSTANCE};; *api/token*) echo a-token;; *) exit 22;; esac
"""


def user_data(templates: Any) -> str:
    data = templates.only(STACK, TEMPLATE)["LaunchTemplateData"]
    parts = data["UserData"]["Fn::Base64"]["Fn::Join"][1]
    return "".join(part if isinstance(part, str) else "a-token" for part in parts)


class Boot:
    """One run of the user data."""

    def __init__(
        self, templates: Any, folder: Path, *, install: str = "", start: str = "", **env: str
    ) -> None:
        path = folder / "path"
        path.mkdir()
        for name, text in (("aws", AWS), ("curl", CURL)):
            (path / name).write_text(text)
            (path / name).chmod(0o755)
        with zipfile.ZipFile(folder / "asset.zip", "w") as asset:
            asset.writestr("bin/install.sh", install)
            asset.writestr("bin/start.sh", start)
        script = (
            user_data(templates)
            .replace("/opt/visionstack", str(folder / "root"))
            .replace("/var/log", str(folder))
        )
        self.calls_file, self.events_file = folder / "calls", folder / "events.json"
        self.done = subprocess.run(
            ["bash", "-c", script],
            env={
                "PATH": f"{path}:/usr/bin:/bin",
                "CALLS": str(self.calls_file),
                "EVENTS": str(self.events_file),
                "ASSET": str(folder / "asset.zip"),
                **env,
            },
            check=False,
            timeout=60,
        )

    def signals(self) -> list[str]:
        calls = self.calls_file.read_text().splitlines()
        return [call for call in calls if call.startswith("cloudformation")]

    def log(self) -> list[str]:
        return [event["message"] for event in json.loads(self.events_file.read_text())]


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        ({"install": "echo there is no Python 3.99 >&2; exit 3"}, "there is no Python 3.99"),
        ({"start": "echo no such unit; exit 3"}, "no such unit"),
        ({"REFUSED": "yes"}, "AccessDenied"),
    ],
)
def test_a_boot_that_fails_is_logged_and_ends_the_deployment(
    defaults: Any, tmp_path: Path, scripts: dict[str, str], says: str
) -> None:
    boot = Boot(defaults, tmp_path, **scripts)
    assert boot.done.returncode != 0
    (signal,) = boot.signals()
    (group,) = defaults.logical_ids(STACK, GROUP)
    assert f"--stack-name {STACK} --logical-resource-id {group} " in signal
    assert f"--unique-id {INSTANCE} --status FAILURE" in signal
    assert any(says in line for line in boot.log())
    calls = boot.calls_file.read_text()
    assert f"--log-group-name /visionstack/boot --log-stream-name {INSTANCE}" in calls


def test_a_boot_that_succeeds_is_logged_and_leaves_the_signal_to_the_server(
    defaults: Any, tmp_path: Path
) -> None:
    boot = Boot(defaults, tmp_path, install="echo installed", start="echo started")
    assert boot.done.returncode == 0
    assert boot.signals() == []
    assert {"installed", "started"} <= set(boot.log())
    settings = (tmp_path / "root" / "stream.env").read_text().splitlines()
    (group,) = defaults.logical_ids(STACK, GROUP)
    assert f"{Env.STREAM_STACK}={STACK}" in settings
    assert f"{Env.STREAM_RESOURCE}={group}" in settings


def test_away_from_an_instance_nothing_is_reported(defaults: Any, tmp_path: Path) -> None:
    boot = Boot(defaults, tmp_path, install="exit 3", VISIONSTACK_ROOT=str(tmp_path / "elsewhere"))
    assert boot.done.returncode == 3
    assert [call.split()[0] for call in boot.calls_file.read_text().splitlines()] == ["s3"]


def test_a_deployment_waits_for_its_servers_to_listen(defaults: Any, gpu: Any) -> None:
    for templates, count in ((defaults, 1), (gpu, 2)):
        (group,) = templates.whole(STACK, GROUP)
        assert group["CreationPolicy"]["ResourceSignal"] == {"Count": count, "Timeout": "PT15M"}
        update = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
        assert (update["WaitOnResourceSignals"], update["PauseTime"]) == (True, "PT15M")
        policies = templates.logical_ids(STACK, "AWS::IAM::Policy")
        assert {name for name in policies if name.startswith("Role")} <= set(group["DependsOn"])


def test_a_group_that_starts_empty_waits_for_nobody(archives: Any, tmp_path: Path) -> None:
    from stacks.app import build_app

    context = {"instances_min": "0"}
    build_app(context=context, archives=archives, outdir=str(tmp_path), checks=False).synth()
    (group,) = [
        one
        for one in json.loads((tmp_path / f"{STACK}.template.json").read_text())[
            "Resources"
        ].values()
        if one["Type"] == GROUP
    ]
    assert "CreationPolicy" not in group


def test_the_boots_log_outlives_the_stack_that_failed(defaults: Any) -> None:
    names = [
        one.get("LogGroupName")
        for one in defaults.resources("visionstack-storage", "AWS::Logs::LogGroup")
    ]
    assert "/visionstack/boot" in names


def test_a_boot_that_fails_later_raises_an_alarm(defaults: Any, tmp_path: Path) -> None:
    """By then no deployment waits, and the group starts one instance after the other."""
    (found,) = defaults.resources("visionstack-storage", "AWS::Logs::MetricFilter")
    (counted,) = found["MetricTransformations"]
    alarms = defaults.resources(STACK, "AWS::CloudWatch::Alarm")
    assert (counted["MetricNamespace"], counted["MetricName"]) in {
        (alarm.get("Namespace"), alarm.get("MetricName")) for alarm in alarms
    }
    wanted, unwanted = found["FilterPattern"].removesuffix('"').removeprefix('"').split('" -"')
    boot = Boot(defaults, tmp_path, install="exit 3")
    (last,) = [line for line in boot.log() if wanted in line]
    assert unwanted not in last
    assert last.replace("3", "0") == unwanted
