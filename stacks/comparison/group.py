"""One compared instance: it measures when it boots, and then is gone."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from runtime.contract import RESULTS_PREFIX, Env
from stacks.catalog import InstanceType
from stacks.parts.acknowledgment import acknowledge, objects_finding
from stacks.parts.instance import HardenedLaunchTemplate, instance_script
from stacks.parts.instance_role import InstanceRole
from stacks.parts.vpc import PublicVpc
from stacks.settings.model import DeploymentSettings

# Only what lies in /opt/visionstack is an instance; the embedded cloud runs this script elsewhere,
# on a machine that must not be shut down.
_ENDS = """\
if [ "$ROOT" = /opt/visionstack ]; then
  shutdown -h +{minutes} "visionstack: the time for this comparison is up"
  aws autoscaling suspend-processes --auto-scaling-group-name {group} --scaling-processes Launch
fi
"""


class MeasuringGroup(Construct):
    """A group of one instance of one type, deployed empty.

    Whoever compares sets its capacity to 1 after the deployment: CloudFormation waits for the
    capacity that a template asks for, and one type that cannot start would roll all back.

    The instance first sets its own end (`comparison_minutes` after boot, whatever happens) and
    stops its group from starting another; a shutdown terminates it. `cdk destroy` ends it at any
    time. A type that AWS has no capacity for costs nothing: the group stays empty.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        instance_type: InstanceType,
        asset: s3_assets.Asset,
        artifacts: s3.IBucket,
        vpc: PublicVpc,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        self.group_name = f"{settings.prefix}-compare-{instance_type.name.replace('.', '-')}"
        role = InstanceRole(
            self,
            "Role",
            artifacts=artifacts,
            assets=[asset],
            models=settings.stream_model,
        )
        results = f"{RESULTS_PREFIX}*"
        role.allow(["s3:GetObject", "s3:PutObject"], artifacts.arn_for_objects(results))
        below = {"StringLike": {"s3:prefix": [results]}}
        role.allow(["s3:ListBucket"], artifacts.bucket_arn, conditions=below)
        acknowledge(
            role,
            {
                objects_finding(artifacts, results, seen_from=self): "The picture"
                " that is measured with, and the results, of any run."
            },
        )
        role.allow_on_group(["autoscaling:SuspendProcesses"], self.group_name)
        launch_template = HardenedLaunchTemplate(
            self,
            "LaunchTemplate",
            instance_type=instance_type,
            ami_id=settings.ami_id,
            root_volume_gib=settings.root_volume_gib,
            role=role,
            security_group=security_group,
            terminate_on_shutdown=True,
            user_data=instance_script(
                asset_url=asset.s3_object_url,
                first=_ENDS.format(minutes=settings.comparison_minutes, group=self.group_name),
                start="measure.sh",
                environment=self._environment(settings, instance_type, artifacts),
            ),
        )
        group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            auto_scaling_group_name=self.group_name,
            vpc=vpc,
            vpc_subnets=vpc.placement,
            launch_template=launch_template,
            min_capacity=0,
            max_capacity=1,
        )
        group.node.add_dependency(*vpc.internet_routes)
        acknowledge(
            group,
            {
                "AwsSolutions-AS3": "The comparison reads the group's activities while it runs.",
            },
        )

    def _environment(
        self, settings: DeploymentSettings, instance_type: InstanceType, artifacts: s3.IBucket
    ) -> dict[str, str]:
        scenarios: Sequence[str] = settings.comparison_scenarios
        return {
            Env.PREFIX: settings.prefix,
            Env.ARTIFACTS_BUCKET: artifacts.bucket_name,
            Env.MODEL: ",".join(settings.stream_model),
            Env.ENGINE: settings.engine,
            Env.LOG_LEVEL: settings.log_level,
            Env.INSTANCE_TYPE: instance_type.name,
            Env.IMAGE_ID: settings.ami_id or instance_type.image_parameter or "",
            Env.MEASURE_SCENARIOS: ",".join(scenarios),
            Env.MEASURE_SCOPES: ",".join(settings.comparison_scopes),
            Env.MEASURE_SECONDS: f"{settings.comparison_seconds:g}",
        }
