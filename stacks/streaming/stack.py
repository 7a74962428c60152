"""The streaming lane: stream servers behind a Network Load Balancer."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from runtime.contract import FINGERPRINT_PENDING, Env, Output, StreamMetric
from stacks.catalog import Catalog
from stacks.packages import PackageFolders
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.alarms import AlarmTopic
from stacks.parts.function import ExpiringLogGroup
from stacks.parts.instance import HardenedLaunchTemplate, instance_script
from stacks.parts.instance_role import InstanceRole
from stacks.settings.model import DeploymentSettings
from stacks.storage.stack import StorageStack
from stacks.streaming.group import StreamGroup
from stacks.streaming.load_balancer import StreamLoadBalancer
from stacks.streaming.monitoring import StreamMetrics, StreamMonitoring
from stacks.streaming.network import StreamNetwork


class StreamingStack(Stack):
    """Network, servers, their address, their token, and what is watched of them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        catalog: Catalog,
        folders: PackageFolders,
        storage: StorageStack,
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
        fingerprint = ssm.StringParameter(
            self,
            "Fingerprint",
            parameter_name=f"/{settings.prefix}/stream/fingerprint",
            string_value=FINGERPRINT_PENDING,
            description="SHA-256 of the stream servers' certificate; servers write it",
        )
        logged = ExpiringLogGroup(self, "Logs", days=settings.log_retention_days)
        asset = s3_assets.Asset(
            self, "Asset", path=str(folders.folder(settings.instance_package(instance_type)))
        )
        role = InstanceRole(
            self,
            "Role",
            artifacts=storage.artifacts,
            assets=[asset],
            models=settings.stream_model,
            log_group=logged,
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["secretsmanager:GetSecretValue"], resources=[token.secret_arn]
            )
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ssm:GetParameter", "ssm:PutParameter"],
                resources=[fingerprint.parameter_arn],
            )
        )
        role.allow_metrics(StreamMetric.NAMESPACE)
        role.allow_on_group(
            [
                "autoscaling:CompleteLifecycleAction",
                "autoscaling:RecordLifecycleActionHeartbeat",
            ],
            group_name,
        )
        launch_template = HardenedLaunchTemplate(
            self,
            "LaunchTemplate",
            instance_type=instance_type,
            ami_id=settings.ami_id,
            root_volume_gib=settings.root_volume_gib,
            role=role,
            security_group=network.instance_group,
            user_data=instance_script(
                asset_url=asset.s3_object_url,
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
                    Env.STREAM_FINGERPRINT_PARAMETER: fingerprint.parameter_name,
                    Env.STREAM_TLS: "load-balancer" if settings.certificate_arn else "self-signed",
                    Env.STREAM_GROUP: group_name,
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
        balancer = StreamLoadBalancer(
            self,
            "LoadBalancer",
            vpc=network.vpc,
            security_group=network.load_balancer_group,
            logs=storage.logs,
        )
        for name, port in zip(("Stream", "Http"), ports, strict=True):
            balancer.forward(
                name,
                port=port,
                group=group,
                health_port=settings.stream_http_port,
                certificate_arn=settings.certificate_arn,
                drain=Duration.seconds(settings.drain_seconds),
            )
        monitoring = StreamMonitoring(
            self,
            "Monitoring",
            metrics=metrics,
            dashboard_name=f"{settings.prefix}-streaming",
            gpu=instance_type.compute == "gpu",
        )
        if settings.alarm_email:
            AlarmTopic(self, "Alarms", email=settings.alarm_email, alarms=monitoring.alarms)
        for key, value in {
            Output.STREAM_HOST: balancer.load_balancer_dns_name,
            Output.STREAM_PORT: str(settings.stream_port),
            Output.STREAM_TOKEN_SECRET: token.secret_arn,
            Output.STREAM_FINGERPRINT_PARAMETER: fingerprint.parameter_name,
            Output.STREAM_LAUNCH_TEMPLATE: launch_template.launch_template_id or "",
            Output.STREAM_AUTO_SCALING_GROUP: group_name,
        }.items():
            CfnOutput(self, key, value=value)
