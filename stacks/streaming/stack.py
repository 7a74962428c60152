"""The streaming lane: stream servers behind a Network Load Balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import jsii
from aws_cdk import (
    CfnOutput,
    CfnResource,
    Duration,
    IStableStringProducer,
    Lazy,
    RemovalPolicy,
    Stack,
)
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from runtime.contract import FINGERPRINT_PENDING, Env, Output, StreamMetric, Tls
from stacks.catalog import Catalog, InstanceType
from stacks.packages import PackageArchives
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import ExpiringLogGroup
from stacks.parts.instance import HardenedLaunchTemplate, boot_report, instance_script
from stacks.parts.instance_role import InstanceRole
from stacks.parts.monitoring import AlarmTopic
from stacks.settings.model import DeploymentSettings
from stacks.storage.stack import StorageStack, boot_log_group, failed_boots
from stacks.streaming.group import StreamGroup
from stacks.streaming.load_balancer import StreamLoadBalancer
from stacks.streaming.monitoring import StreamMetrics, StreamMonitoring
from stacks.streaming.network import StreamNetwork
from stacks.streaming.pinned_image import PinnedImage


class StreamingStack(Stack):
    """Network, servers, their address, their token, and what is watched of them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        catalog: Catalog,
        archives: PackageArchives,
        storage: StorageStack,
        page_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: streaming lane")
        instance_type = catalog[settings.instance_type]
        ports = (settings.stream_port, settings.stream_http_port)
        # Servers name their group in metrics and when they have drained, so it is known beforehand.
        group_name = f"{settings.prefix}-stream"
        network = StreamNetwork(
            self,
            "Network",
            zones=settings.zones,
            availability_zones=settings.availability_zones,
            allowed_cidrs=settings.allowed_cidrs,
            ports=ports,
            flow_logs=storage.logs if settings.flow_logs else None,
        )
        token = secretsmanager.Secret(
            self,
            "Token",
            description="Token that stream clients present",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=43, exclude_punctuation=True
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(
            token,
            {
                "AwsSolutions-SMG4": "Clients at desks hold this token; it is replaced by hand,"
                " when a client is no longer to be trusted, and not behind their backs."
            },
        )
        # With a certificate of the load balancer's, one that was published before would be pinned.
        fingerprint = None
        if not settings.certificate_arn:
            fingerprint = ssm.StringParameter(
                self,
                "Fingerprint",
                parameter_name=f"/{settings.prefix}/stream/fingerprint",
                string_value=FINGERPRINT_PENDING,
                description="SHA-256 of the stream servers' certificate; servers write it",
            )
        logged = ExpiringLogGroup(self, "Logs", days=settings.log_retention_days)
        asset = s3_assets.Asset(
            self, "Asset", path=str(archives.archive(settings.instance_package(instance_type)))
        )
        role = InstanceRole(
            self,
            "Role",
            artifacts=storage.artifacts,
            assets=[asset],
            models=settings.stream_model,
        )
        role.allow_log(logged)
        role.allow(["secretsmanager:GetSecretValue"], token.secret_arn)
        if fingerprint is not None:
            role.allow(["ssm:PutParameter"], fingerprint.parameter_arn)
        boots = boot_log_group(settings.prefix)
        role.allow_boot_report(log_group_name=boots)
        role.allow_metrics(StreamMetric.NAMESPACE)
        role.allow_on_group(["autoscaling:CompleteLifecycleAction"], group_name)
        # A load balancer's subnet may not be changed for another of the same zone at once (Network
        # Load Balancers guide, "Update the Availability Zones"), as it would be between zones by
        # position and zones by name: that needs another load balancer.
        balancer = StreamLoadBalancer(
            self,
            "LoadBalancerInNamedZones" if settings.availability_zones else "LoadBalancer",
            vpc=network.vpc,
            security_group=network.load_balancer_group,
            logs=storage.logs,
            certificate_arn=settings.certificate_arn,
        )
        group_resource = Lazy.string(_LogicalId(lambda: group))
        launch_template = HardenedLaunchTemplate(
            self,
            "LaunchTemplate",
            instance_type=instance_type,
            ami_id=self._image(settings, instance_type),
            root_volume_gib=settings.root_volume_gib,
            role=role,
            security_group=network.instance_group,
            user_data=instance_script(
                asset_url=asset.s3_object_url,
                first=boot_report(stack=self.stack_name, resource=group_resource, log_group=boots),
                environment={
                    Env.PREFIX: settings.prefix,
                    Env.ARTIFACTS_BUCKET: storage.artifacts.bucket_name,
                    Env.MODEL: ",".join(settings.stream_model),
                    Env.ENGINE: settings.engine,
                    Env.LOG_LEVEL: settings.log_level,
                    Env.STREAM_HOST: "0.0.0.0",  # noqa: S104 - only the load balancer gets through
                    Env.STREAM_PORT: str(settings.stream_port),
                    Env.STREAM_HTTP_PORT: str(settings.stream_http_port),
                    Env.STREAM_TOKEN_SECRET: token.secret_arn,
                    **(
                        {Env.STREAM_FINGERPRINT_PARAMETER: fingerprint.parameter_name}
                        if fingerprint is not None
                        else {}
                    ),
                    Env.STREAM_TLS: Tls.SELF_SIGNED if fingerprint else Tls.LOAD_BALANCER,
                    Env.STREAM_NAMES: balancer.load_balancer_dns_name,
                    **({Env.STREAM_PAGE_ORIGIN: page_origin} if page_origin else {}),
                    Env.STREAM_GROUP: group_name,
                    Env.STREAM_STACK: self.stack_name,
                    Env.STREAM_RESOURCE: group_resource,
                    Env.STREAM_DRAIN_SECONDS: str(settings.drain_seconds),
                    Env.STREAM_LOG_GROUP: logged.log_group_name,
                },
            ),
        )
        metrics = StreamMetrics(group_name)
        group = StreamGroup(
            self,
            "Group",
            settings=settings,
            group_name=group_name,
            vpc=network.vpc,
            launch_template=launch_template,
            load=metrics.metric(settings.scale_on),
        )
        # Its policies too: an instance that boots before them is refused its asset.
        group.node.add_dependency(role)
        for name, port in zip(("Stream", "Http"), ports, strict=True):
            balancer.forward(
                name,
                port=port,
                group=group,
                health_port=settings.stream_http_port,
                drain=Duration.seconds(settings.drain_seconds),
            )
        monitoring = StreamMonitoring(
            self,
            "Monitoring",
            metrics=metrics,
            failed_boots=failed_boots(settings.prefix),
            dashboard_name=f"{settings.prefix}-streaming",
            gpu=instance_type.compute == "gpu",
        )
        if settings.alarm_email:
            AlarmTopic(self, "Alarms", email=settings.alarm_email, alarms=monitoring.alarms)
        for key, value in {
            Output.STREAM_HOST: settings.stream_host or balancer.load_balancer_dns_name,
            Output.STREAM_LOAD_BALANCER: balancer.load_balancer_dns_name,
            Output.STREAM_PORT: str(settings.stream_port),
            Output.STREAM_TOKEN_SECRET: token.secret_arn,
            **(
                {Output.STREAM_FINGERPRINT_PARAMETER: fingerprint.parameter_name}
                if fingerprint is not None
                else {}
            ),
            Output.STREAM_LAUNCH_TEMPLATE: launch_template.launch_template_id or "",
            Output.STREAM_AUTO_SCALING_GROUP: group_name,
        }.items():
            CfnOutput(self, key, value=value)

    def _image(self, settings: DeploymentSettings, instance_type: InstanceType) -> str | None:
        if settings.ami_id is not None or instance_type.image_parameter is None:
            return settings.ami_id
        return PinnedImage(
            self,
            "Image",
            parameter=instance_type.image_parameter,
            asked=settings.ami_update,
            log_retention_days=settings.log_retention_days,
        ).image_id


@jsii.implements(IStableStringProducer)
class _LogicalId:
    """The logical id of a group that is made later than what names it."""

    def __init__(self, group: Callable[[], StreamGroup]) -> None:
        self._group = group

    def produce(self) -> str:
        return cast(CfnResource, self._group().node.default_child).logical_id
