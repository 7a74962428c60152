"""A VPC of public subnets, with no NAT gateway to pay for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge


class PublicVpc(ec2.Vpc):
    """Subnets in `availability_zones`, or in the first `zones` that the account has.

    Zones are picked when the stack is deployed: synthesis asks no account. Flows are logged to
    `flow_logs`, below `vpc/`, where it is given.
    """

    NETWORK: Final = "10.0.0.0/16"

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        zones: int,
        availability_zones: Sequence[str],
        flow_logs: s3.IBucket | None,
    ) -> None:
        names = list(availability_zones) or [Fn.select(i, Fn.get_azs()) for i in range(zones)]
        super().__init__(
            scope,
            construct_id,
            ip_addresses=ec2.IpAddresses.cidr(self.NETWORK),
            availability_zones=names,
            nat_gateways=0,
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC)
            ],
        )
        if flow_logs is None:
            acknowledge(
                self,
                {
                    "AwsSolutions-VPC7": "flow_logs=true writes them to the logs bucket; without,"
                    " the servers' own log of sessions has to do."
                },
            )
        else:
            ec2.CfnFlowLog(
                self,
                "FlowLog",
                resource_id=self.vpc_id,
                resource_type="VPC",
                traffic_type="ALL",
                log_destination_type="s3",
                log_destination=flow_logs.arn_for_objects("vpc/"),
            )
