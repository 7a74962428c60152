"""The one address of the streaming lane."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge
from stacks.parts.vpc import PublicVpc
from stacks.streaming.group import StreamGroup


class StreamLoadBalancer(elb.NetworkLoadBalancer):
    """A Network Load Balancer with one listener a port.

    With `certificate_arn` it ends TLS itself, speaks plain TCP to the servers and logs connections;
    without, TLS goes through to the certificate that a server made, and there is nothing to log:
    "Access logs are created only if the load balancer has a TLS listener" (Elastic Load Balancing,
    Access logs for your Network Load Balancer).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: PublicVpc,
        security_group: ec2.ISecurityGroup,
        logs: s3.IBucket,
        certificate_arn: str | None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            vpc=vpc,
            vpc_subnets=vpc.placement,
            internet_facing=True,
            cross_zone_enabled=True,
            security_groups=[security_group],
        )
        self._certificate_arn = certificate_arn
        logged = certificate_arn is not None
        # The bucket stays named without logs: an import that comes and goes with a setting would
        # have CloudFormation take an export away that is still in use.
        self.set_attribute("access_logs.s3.enabled", "true" if logged else "false")
        self.set_attribute("access_logs.s3.bucket", logs.bucket_name)
        self.set_attribute("access_logs.s3.prefix", "nlb")
        if not logged:
            acknowledge(
                self,
                {
                    "AwsSolutions-ELB2": "Without a TLS listener (certificate_arn) there are no"
                    " access logs; flow_logs=true logs connections."
                },
            )

    def forward(
        self,
        name: str,
        *,
        port: int,
        group: StreamGroup,
        health_port: int,
        drain: Duration,
    ) -> None:
        """Send `port` to the same port of the group's healthy instances."""
        certificate_arn = self._certificate_arn
        encrypted = certificate_arn is not None
        listener = self.add_listener(
            f"{name}Listener",
            port=port,
            protocol=elb.Protocol.TLS if encrypted else elb.Protocol.TCP,
            certificates=(
                [elb.ListenerCertificate.from_arn(certificate_arn)] if certificate_arn else None
            ),
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if encrypted else None,
            # A TLS listener's idle time is fixed at 350 s; servers send keepalives well before.
            tcp_idle_timeout=None if encrypted else Duration.seconds(600),
        )
        target = elb.NetworkTargetGroup(
            self,
            f"{name}Targets",
            vpc=self.vpc,
            port=port,
            protocol=elb.Protocol.TCP,
            deregistration_delay=drain,
            targets=[group],
            health_check=elb.HealthCheck(
                protocol=elb.Protocol.HTTP if encrypted else elb.Protocol.HTTPS,
                port=str(health_port),
                # Not /readyz: a server that waits for its model must not be replaced by another.
                path="/in-service",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        listener.add_target_groups(f"{name}Forward", target)
