"""The comparison: one measuring instance for each type in `instance_types`."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from runtime.contract import Output
from stacks.catalog import Catalog
from stacks.comparison.group import MeasuringGroup
from stacks.packages import PackageArchives, PackageTarget
from stacks.parts.vpc import PublicVpc
from stacks.settings.model import DeploymentSettings
from stacks.storage.stack import StorageStack


class ComparisonStack(Stack):
    """A network without ingress, and a group of one for each type."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        catalog: Catalog,
        archives: PackageArchives,
        storage: StorageStack,
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: comparison")
        vpc = PublicVpc(
            self,
            "Vpc",
            zones=settings.zones,
            availability_zones=settings.availability_zones,
            flow_logs=storage.logs if settings.flow_logs else None,
        )
        security_group = ec2.SecurityGroup(
            self,
            "InstanceGroup",
            vpc=vpc,
            description="Nothing in; AWS services and system packages out",
            allow_all_outbound=False,
        )
        security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "HTTPS")
        assets: dict[PackageTarget, s3_assets.Asset] = {}
        groups: dict[str, str] = {}
        for name in settings.instance_types:
            target = settings.instance_package(catalog[name])
            if target not in assets:
                assets[target] = s3_assets.Asset(
                    self,
                    f"Asset-{target.arch}-{target.variant}",
                    path=str(archives.archive(target)),
                )
            measuring = MeasuringGroup(
                self,
                name.replace(".", "-"),
                settings=settings,
                instance_type=catalog[name],
                asset=assets[target],
                artifacts=storage.artifacts,
                vpc=vpc,
                security_group=security_group,
            )
            groups[name] = measuring.group_name
        CfnOutput(self, Output.COMPARISON_GROUPS, value=self.to_json_string(groups))
