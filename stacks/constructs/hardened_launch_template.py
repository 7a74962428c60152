"""A launch template with this project's security defaults."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.catalog import InstanceType
from stacks.constructs.machine_image import machine_image, root_device


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
