"""Which machine image an instance starts from."""

from __future__ import annotations

import jsii
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from stacks.catalog import InstanceType
from stacks.errors import SettingsError


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
