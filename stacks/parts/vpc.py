"""A VPC of public subnets, with no NAT gateway to pay for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge

_LETTERS_FROM: Final = 6
"""Parts before these are for zones by position: the setting `zones` goes to 6."""


class PublicVpc(ec2.Vpc):
    """Subnets in `availability_zones`, or in the first `zones` that the account has.

    Zones are picked when the stack is deployed: synthesis asks no account. Flows are logged to
    `flow_logs`, below `vpc/`, where it is given.

    CloudFormation creates what is new before it deletes what is old (user guide, "Understand
    update behaviors of stack resources"), and two subnets may not overlap. So every zone has its
    own part of the network, in use or not, and a subnet is called after its zone: by position
    among the account's zones (parts 0 to 5), or by the letter of a zone that is named (6 to 31).
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
        parts = (
            {_LETTERS_FROM + ord(name[-1]) - ord("a"): name for name in availability_zones}
            if availability_zones
            else {number: Fn.select(number, Fn.get_azs()) for number in range(zones)}
        )
        super().__init__(
            scope,
            construct_id,
            ip_addresses=ec2.IpAddresses.cidr(self.NETWORK),
            availability_zones=list(parts.values()),
            nat_gateways=0,
            restrict_default_security_group=False,
            subnet_configuration=[],
        )
        gateway = ec2.CfnInternetGateway(self, "Gateway")
        attachment = ec2.CfnVPCGatewayAttachment(
            self,
            "Attachment",
            vpc_id=self.vpc_id,
            internet_gateway_id=gateway.attr_internet_gateway_id,
        )
        subnets = []
        for part, zone in sorted(parts.items()):
            subnet = ec2.PublicSubnet(
                self,
                f"Zone{part if part < _LETTERS_FROM else zone[-1].upper()}",
                availability_zone=zone,
                cidr_block=str(_PARTS[part]),
                vpc_id=self.vpc_id,
                map_public_ip_on_launch=True,
            )
            subnet.add_default_internet_route(gateway.attr_internet_gateway_id, attachment)
            subnets.append(subnet)
        self.placement = ec2.SubnetSelection(subnets=subnets)
        """Where instances and load balancers go."""
        self.internet_routes = [subnet.internet_connectivity_established for subnet in subnets]
        """What has public addresses must be made after these and deleted before: CloudFormation
        template reference, `DependsOn`, "When a DependsOn attribute is required"."""
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


_PARTS: Final = tuple(ipaddress.IPv4Network(PublicVpc.NETWORK).subnets(new_prefix=21))
