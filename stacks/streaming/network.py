"""The network of the streaming lane: public subnets, and two security groups without ingress."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.parts.vpc import PublicVpc


class StreamNetwork(Construct):
    """A VPC of public subnets and who may talk to whom in it.

    The load balancer's group admits `allowed_cidrs` on `ports` and nobody else; the instances'
    group admits the load balancer on `ports` and nobody else.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        zones: int,
        availability_zones: Sequence[str],
        allowed_cidrs: Sequence[str],
        ports: Sequence[int],
        flow_logs: s3.IBucket | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.vpc = PublicVpc(
            self,
            "Vpc",
            zones=zones,
            availability_zones=availability_zones,
            flow_logs=flow_logs,
        )
        self.load_balancer_group = ec2.SecurityGroup(
            self,
            "LoadBalancerGroup",
            vpc=self.vpc,
            description="Stream clients to the load balancer",
            allow_all_outbound=False,
        )
        for port in ports:
            for cidr in allowed_cidrs:
                self.load_balancer_group.add_ingress_rule(
                    ec2.Peer.ipv4(cidr), ec2.Port.tcp(port), "allowed_cidrs"
                )
            self.load_balancer_group.add_egress_rule(
                ec2.Peer.ipv4(PublicVpc.NETWORK), ec2.Port.tcp(port), "To the instances"
            )
        # A rule between two groups of the L2 kind becomes a resource of its own; written into the
        # group it is one resource less and cannot be left out of a drift check.
        group = ec2.CfnSecurityGroup(
            self,
            "InstanceGroup",
            vpc_id=self.vpc.vpc_id,
            group_description="Load balancer to the stream servers",
            security_group_ingress=[
                ec2.CfnSecurityGroup.IngressProperty(
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    source_security_group_id=self.load_balancer_group.security_group_id,
                    description="From the load balancer",
                )
                for port in ports
            ],
            security_group_egress=[
                ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_ip="0.0.0.0/0",
                    description="AWS services and system packages",
                )
            ],
        )
        self.instance_group = ec2.SecurityGroup.from_security_group_id(
            self, "ImportedInstanceGroup", group.attr_group_id, mutable=False
        )
