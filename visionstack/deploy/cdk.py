"""Runs the pinned CDK command line, with its trouble told in sentences."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from visionstack import paths
from visionstack.cloud import Cloud, KnownCloud, local_defaults
from visionstack.cloud.aws_errors import RENEW, translated
from visionstack.cloud.clouds import cloud_environment, resolve_cloud
from visionstack.cloud.deployment import connect
from visionstack.cloud.local_state import REGION, CloudFolder
from visionstack.console import err
from visionstack.errors import VisionstackError

ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TOLD_LINES: Final = 12
"""How many of the last lines of CDK's output an error shows."""
RESOURCE_FAILED: Final = re.compile(r"(CREATE|UPDATE|DELETE)_FAILED +\|")
NO_SIGNAL: Final = re.compile(r"SUCCESS signal\(s\)|resource signal|did not stabilize")
"""In CloudFormation's reason for a group of which no instance has told that it listens."""
BOOTSTRAP_STACK: Final = "CDKToolkit"
ACCOUNT: Final = "000000000000"
"""The embedded cloud's."""
KNOWN_TROUBLE: Final = (
    (
        re.compile(
            r"ExpiredToken|token included in the request is expired|SSO.{0,40}expired", re.I
        ),
        "the AWS credentials have expired.",
        RENEW,
    ),
    (
        re.compile(r"paused fail state|UPDATE_ROLLBACK_FAILED", re.I),
        "a stack is in UPDATE_ROLLBACK_FAILED: an earlier update failed, and so did the way back.",
        "`npx cdk rollback STACK` goes back; then try again. `aws cloudformation "
        "describe-stack-events --stack-name STACK` names the resource in its way.",
    ),
    (
        re.compile(r"Failed deleting stack|\bROLLBACK_FAILED", re.I),
        "a stack is in the way that could not be made, nor taken back.",
        "`npx cdk destroy STACK` deletes it; if it cannot, `aws cloudformation "
        "describe-stack-events --stack-name STACK` names the resource in its way. Then try again.",
    ),
    (
        re.compile(r"Rate exceeded|ThrottlingException|RequestLimitExceeded", re.I),
        "this account calls AWS too often.",
        "Wait a minute, then run the same command again; it goes on from what is there.",
    ),
    (
        re.compile(r"cdk-bootstrap/\S+ not found|has the environment been bootstrapped", re.I),
        "this account and region are not bootstrapped for CDK.",
        "Run `npx cdk bootstrap` once, then try again.",
    ),
    (
        re.compile(
            r"unable to resolve AWS account|could not load credentials|need to perform AWS calls|"
            r"no credentials have been configured|security token included in the request",
            re.I,
        ),
        "there are no valid AWS credentials.",
        "Set AWS_PROFILE or `aws configure`, or use the embedded cloud: `visionstack local up`.",
    ),
)


def cdk(
    arguments: Sequence[str],
    *,
    cloud: Cloud = "auto",
    context: Mapping[str, object] | None = None,
) -> Path:
    """Run `cdk *arguments`, for example `cdk(["deploy", "--all"], cloud="local")`.

    On the embedded cloud the settings of `localcloud.local_defaults` (which AMI exists there, which
    Python its functions run) come first, then `context`. The output goes to a log, a
    file under `out/logs` or among the embedded cloud's logs, and its progress to stderr. Returns
    the log. VisionstackError when there is no node, no CDK, no bootstrap, no credentials, or when
    CDK fails for another reason, with what failed.
    """
    resolved = resolve_cloud(cloud)
    given: dict[str, object] = dict(context or {})
    if resolved == "local":
        given = {**local_defaults.context(), **given}
        # Beside a run for AWS or for another embedded cloud, which would lock the common folder;
        # and without copies of the packages, which are under build/ anyway.
        arguments = [*arguments, "--output", str(_local_assembly()), "--no-staging"]
    environment = _with_python(cloud_environment(resolved))
    command = [*command_line(environment), *arguments]
    for name, value in given.items():
        command += ["-c", f"{name}={value}"]
    log = _log_folder(resolved) / f"cdk-{arguments[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    code, lines = _run(command, environment=environment, log=log, folder=paths.project())
    if code != 0:
        failure = _failure(arguments, code, lines, log)
        if resolved == "aws" and NO_SIGNAL.search("\n".join(lines)):
            prefix = given.get("prefix")
            raise _with_refused_launch(failure, prefix=None if prefix is None else str(prefix))
        raise failure
    return log


def bootstrap_embedded_cloud() -> bool:
    """Bootstrap the embedded cloud for CDK unless it is; returns whether this call did.

    On AWS that is the user's to decide: `npx cdk bootstrap` makes a bucket and roles there.
    """
    environment = _with_python(cloud_environment("local"))
    if _stack_exists(BOOTSTRAP_STACK):
        return False
    log = _log_folder("local") / "cdk-bootstrap.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*command_line(environment), "bootstrap", f"aws://{ACCOUNT}/{REGION}"]
    with tempfile.TemporaryDirectory() as empty:
        # Away from cdk.json: an environment given by name needs no synthesis.
        code, lines = _run(command, environment=environment, log=log, folder=Path(empty))
    if code != 0:
        raise _failure(["bootstrap"], code, lines, log)
    return True


def command_line(environment: Mapping[str, str] = os.environ) -> list[str]:
    """How the pinned CDK is started; VisionstackError when node or CDK is not there."""
    node = shutil.which("node", path=environment.get("PATH"))
    if node is None:
        raise VisionstackError(
            "Node.js is not installed, and the CDK command line needs it.",
            remedy="Install Node.js 20 or later (Debian: `apt-get install nodejs npm`), "
            "then run `npm ci` here.",
        )
    program = paths.project() / "node_modules" / "aws-cdk" / "bin" / "cdk"
    if not program.exists():
        raise VisionstackError(
            "The CDK command line is not installed in node_modules.", remedy="Run `npm ci` here."
        )
    return [node, str(program)]


def _run(
    command: list[str], *, environment: Mapping[str, str], log: Path, folder: Path
) -> tuple[int, list[str]]:
    started = time.monotonic()
    lines: list[str] = []
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, "--no-color", "--progress", "events"]
            if command[2] in {"deploy", "destroy"}
            else [*command, "--no-color"],
            cwd=folder,
            env={**environment, "CI": "1", "CDK_DISABLE_CLI_TELEMETRY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            _follow(process.stdout or (), file=file, lines=lines, name=f"cdk {command[2]}")
        except BaseException:
            process.terminate()
            raise
    err.print(f"[dim]cdk {command[2]}: {time.monotonic() - started:.0f} s, log {log}[/]")
    return process.returncode, lines


def _follow(output: Iterable[str], *, file: IO[str], lines: list[str], name: str) -> None:
    with err.status(f"{name} …") as status:
        for raw in output:
            line = ANSI.sub("", raw).rstrip()
            file.write(line + "\n")
            file.flush()
            if not line:
                continue
            lines.append(line)
            if line.lstrip().startswith(("✅", "❌")):
                err.print(line.strip(), markup=False)
            status.update(f"{name}: {line.strip()[:100]}".replace("[", r"\["))


def _local_assembly() -> Path:
    return CloudFolder.from_environment().root / "cdk.out"


def _log_folder(cloud: KnownCloud) -> Path:
    return CloudFolder.from_environment().logs if cloud == "local" else paths.OUT / "logs"


def _with_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The app that cdk.json names is to run with the Python that runs this."""
    path = [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    return {**environment, "PATH": os.pathsep.join(path)}


def _stack_exists(name: str) -> bool:
    stacks = connect(cloud="local").client("cloudformation").describe_stacks()["Stacks"]
    return any(
        one["StackName"] == name and one["StackStatus"] != "DELETE_COMPLETE" for one in stacks
    )


def _failure(arguments: Sequence[str], code: int, lines: list[str], log: Path) -> VisionstackError:
    # Said of every asset and stack where the roles of the bootstrap cannot be assumed.
    lines = [line for line in lines if not line.rstrip().endswith("Proceeding anyway.")]
    text = "\n".join(lines)
    failed = [line for line in lines if RESOURCE_FAILED.search(line)]
    for pattern, what, remedy in KNOWN_TROUBLE:
        if pattern.search(text):
            return VisionstackError(
                "\n".join([f"cdk {arguments[0]} failed: {what}", *_indented(failed)]),
                remedy=remedy,
            )
    return VisionstackError(
        "\n".join(
            [f"cdk {arguments[0]} failed with exit code {code}:", *_indented(failed or lines)]
        ),
        remedy=f"The whole log: {log}",
    )


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line.strip()}" for line in lines[-TOLD_LINES:]]


def _with_refused_launch(failure: VisionstackError, *, prefix: str | None) -> VisionstackError:
    """The same with what EC2 said, which CloudFormation does not tell: it waits for instances that
    were never started. The group may be gone by then, rolled back."""
    try:
        deployment = connect(cloud="aws", prefix=prefix)
        with translated("read the scaling activities"):
            activities = deployment.client("autoscaling").describe_scaling_activities(
                AutoScalingGroupName=f"{deployment.prefix}-stream",
                IncludeDeletedGroups=True,
                MaxRecords=1,
            )["Activities"]
    except VisionstackError:
        return failure
    if not activities or activities[0]["StatusCode"] != "Failed":
        return failure
    return VisionstackError(
        f"{failure.message}\n  No instance was started: {activities[0].get('StatusMessage')}",
        remedy="Where AWS has none left: try later, in other zones (-c availability_zones=…) or "
        "with other types (-c extra_instance_types=…); where a quota is named, `visionstack "
        f"doctor` has the request for more. {failure.remedy}",
    )
