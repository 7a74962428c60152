"""A launch template with this project's security defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import jsii
from aws_cdk import Annotations, Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from runtime.contract import Env
from stacks.catalog import InstanceType
from stacks.errors import SettingsError


class HardenedLaunchTemplate(ec2.LaunchTemplate):
    """IMDSv2 with hop limit 1, an encrypted gp3 disk, no key pair, a public address for egress."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        instance_type: InstanceType,
        ami_id: str | None,
        root_volume_gib: int | None,
        user_data: ec2.UserData,
        role: iam.IRole,
        security_group: ec2.ISecurityGroup,
        terminate_on_shutdown: bool = False,
    ) -> None:
        behavior = ec2.InstanceInitiatedShutdownBehavior
        super().__init__(
            scope,
            construct_id,
            instance_type=ec2.InstanceType(instance_type.name),
            machine_image=machine_image(instance_type, ami_id=ami_id, user_data=user_data),
            user_data=user_data,
            role=role,
            security_group=security_group,
            associate_public_ip_address=True,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            detailed_monitoring=True,
            instance_initiated_shutdown_behavior=(
                behavior.TERMINATE if terminate_on_shutdown else None
            ),
            block_devices=[
                ec2.BlockDevice(
                    device_name=root_device(instance_type),
                    volume=ec2.BlockDeviceVolume.ebs(
                        root_volume_gib or instance_type.root_volume_gib,
                        encrypted=True,
                        volume_type=ec2.EbsDeviceVolumeType.GP3,
                        delete_on_termination=True,
                    ),
                )
            ],
        )
        if instance_type.idle_gpus:
            Annotations.of(self).add_warning_v2(
                "visionstack:idle-gpus",
                f"{instance_type.name} has {instance_type.gpu_count} GPUs, of which a server uses "
                f"the first: {instance_type.idle_gpus} would be paid for and do nothing. Take "
                "several instances of a type with one GPU instead.",
            )


# Which machine image an instance starts from.


@jsii.implements(ec2.IMachineImage)
class _NamedImage:
    """An image given by its id, whatever region the stack goes to."""

    def __init__(self, image_id: str, user_data: ec2.UserData) -> None:
        self._image_id = image_id
        self._user_data = user_data

    def get_image(self, scope: Construct) -> ec2.MachineImageConfig:
        del scope
        return ec2.MachineImageConfig(
            image_id=self._image_id,
            os_type=ec2.OperatingSystemType.LINUX,
            user_data=self._user_data,
        )


def machine_image(
    instance_type: InstanceType, *, ami_id: str | None, user_data: ec2.UserData
) -> ec2.IMachineImage:
    """The image named, or the newest that AWS publishes for the type (asked at deployment).

    Raises:
        SettingsError: when neither exists.
    """
    if ami_id is not None:
        return _NamedImage(ami_id, user_data)
    if instance_type.image_parameter is None:
        raise SettingsError([f"{instance_type.name} has no public machine image; set ami_id."])
    return ec2.MachineImage.from_ssm_parameter(
        instance_type.image_parameter, os=ec2.OperatingSystemType.LINUX, user_data=user_data
    )


def root_device(instance_type: InstanceType) -> str:
    """Name of the root device: the GPU image is an Ubuntu, the CPU image an Amazon Linux."""
    return "/dev/sda1" if instance_type.compute == "gpu" else "/dev/xvda"


# The user data of an instance: fetch the asset, write its settings, install, start.


_SCRIPT = """\
set -euo pipefail
ROOT="${{{root}:-/opt/visionstack}}"
export {root}="$ROOT" AWS_DEFAULT_REGION="${{AWS_DEFAULT_REGION:-{region}}}"
{first}mkdir -p "$ROOT"
aws s3 cp "{asset}" "$ROOT/asset.zip"
python3 -m zipfile -e "$ROOT/asset.zip" "$ROOT"
rm -f "$ROOT/asset.zip"
# A variable that is already set wins over what was deployed.
setting() {{ printf '%s=%s\\n' "$1" "${{!1:-$2}}"; }}
{{
  setting {root} "$ROOT"
  setting AWS_DEFAULT_REGION "$AWS_DEFAULT_REGION"
{settings}
}} > "$ROOT/stream.env"
bash "$ROOT/bin/install.sh"
# Elsewhere than on an instance the server is this process, and gets its signals.
[ "$ROOT" = /opt/visionstack ] || exec bash "$ROOT/bin/{start}"
bash "$ROOT/bin/{start}"
"""
BOOT_ENDED: Final = "visionstack: the boot ended with exit code"
"""How the last line of a boot's log begins; its exit code follows."""
_REPORT = """\
if [ "$ROOT" = /opt/visionstack ]; then
  boot_log=/var/log/visionstack-boot.log
  exec >>"$boot_log" 2>&1
  boot_ended() {{
    code=$?
    set +eu
    trap - EXIT
    echo "{ended} $code"
    metadata() {{ curl -sf -m 5 "http://169.254.169.254/latest/$1" "${{@:2}}"; }}
    token="$(metadata api/token -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60")"
    instance="$(metadata meta-data/instance-id -H "X-aws-ec2-metadata-token: $token")"
    python3 -c '{events}' "$boot_log" >"$boot_log.json"
    timeout 60 aws logs create-log-stream --log-group-name "{group}" --log-stream-name "$instance"
    timeout 60 aws logs put-log-events --log-group-name "{group}" --log-stream-name "$instance" \
      --log-events "file://$boot_log.json"
    if [ "$code" != 0 ]; then
      aws cloudformation signal-resource --stack-name "{stack}" --logical-resource-id "{resource}" \
        --unique-id "$instance" --status FAILURE
    fi
    exit "$code"
  }}
  trap boot_ended EXIT
fi
"""
_EVENTS = """\
import json, sys, time
lines = open(sys.argv[1], errors="replace").read().splitlines()
now = int(time.time() * 1000)
events = [{"timestamp": now, "message": line[:1000]} for line in lines if line.strip()]
print(json.dumps(events[-1000:]))"""
"""One call of PutLogEvents may carry 1 MiB."""


def boot_report(*, stack: str, resource: str, log_group: str) -> str:
    """The `first` of a script that tells how its boot went.

    Its output goes to a log stream named after the instance, in `log_group`. A failure ends the
    deployment that waits for it: the group with the logical id `resource` in `stack` is signalled.
    Success is the server's to tell, which by then listens.
    """
    return _REPORT.format(
        stack=stack, resource=resource, group=log_group, events=_EVENTS, ended=BOOT_ENDED
    )


def instance_script(
    *,
    asset_url: str,
    environment: Mapping[str, str],
    start: str = "start.sh",
    first: str = "",
) -> ec2.UserData:
    """One bash script, as docs/architecture.md describes it.

    `asset_url` is an `s3://` address of the zip; `environment` goes to `$ROOT/stream.env`; `first`
    is run before anything else, and `start` of the asset last. Values may be CloudFormation tokens;
    none may hold a single quote.
    """
    user_data = ec2.UserData.for_linux()
    settings = "\n".join(f"  setting {name} '{value}'" for name, value in environment.items())
    user_data.add_commands(
        _SCRIPT.format(
            root=Env.ROOT,
            region=Aws.REGION,
            first=first,
            asset=asset_url,
            settings=settings,
            start=start,
        )
    )
    return user_data
