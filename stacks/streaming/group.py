"""The Auto Scaling group of stream servers."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from runtime.contract import STREAM_DRAIN_HOOK
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.vpc import PublicVpc
from stacks.settings.model import DeploymentSettings

_BOOT: Final = Duration.minutes(15)


class StreamGroup(autoscaling.AutoScalingGroup):
    """Scales on the metric that the servers publish; an ending server drains under a hook.

    A deployment waits for each server to say that it listens, and fails when one says that it
    cannot or stays silent. A server that waits for its model listens.

    Several instance types or spot make a mixed group, which falls back over types and zones when
    capacity is short.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        group_name: str,
        vpc: PublicVpc,
        launch_template: ec2.LaunchTemplate,
        load: cloudwatch.IMetric,
    ) -> None:
        first = settings.instances_min
        if settings.instances_desired is not None:
            first = settings.instances_desired
        mixed = settings.spot or settings.extra_instance_types
        super().__init__(
            scope,
            construct_id,
            auto_scaling_group_name=group_name,
            vpc=vpc,
            vpc_subnets=vpc.placement,
            launch_template=None if mixed else launch_template,
            mixed_instances_policy=_mixed(settings, launch_template) if mixed else None,
            capacity_rebalance=True if settings.spot else None,
            min_capacity=settings.instances_min,
            max_capacity=settings.instances_max,
            desired_capacity=settings.instances_desired,
            default_instance_warmup=Duration.minutes(5),
            health_checks=autoscaling.HealthChecks.with_additional_checks(
                additional_types=[autoscaling.AdditionalHealthCheckType.ELB],
                # Boot, install and the first load of a model.
                grace_period=_BOOT,
            ),
            group_metrics=[autoscaling.GroupMetrics.all()],
            update_policy=autoscaling.UpdatePolicy.rolling_update(
                min_instances_in_service=min(
                    settings.instances_min, max(settings.instances_max - 1, 0)
                ),
                # An old server drains when the new one has said that it listens.
                wait_on_resource_signals=True,
                pause_time=_BOOT,
            ),
            signals=autoscaling.Signals.wait_for_count(first, timeout=_BOOT) if first else None,
        )
        self.node.add_dependency(*vpc.internet_routes)
        self.add_lifecycle_hook(
            "DrainHook",
            lifecycle_hook_name=STREAM_DRAIN_HOOK,
            lifecycle_transition=autoscaling.LifecycleTransition.INSTANCE_TERMINATING,
            heartbeat_timeout=Duration.seconds(settings.drain_seconds + 60),
            default_result=autoscaling.DefaultResult.CONTINUE,
        )
        if settings.instances_max > settings.instances_min:
            self.scale_to_track_metric("Load", metric=load, target_value=settings.scale_target)
        if mixed:
            acknowledge(
                self,
                {
                    "AwsSolutions-EC26": "The rule cannot follow a mixed group to its launch"
                    " template; its disks are encrypted there, and a test holds them to it."
                },
            )
        acknowledge(
            self,
            {
                "AwsSolutions-AS3": "Alarms speak for the group's health; a message for each"
                " scaling step would be noise.",
                "@aws-cdk/aws-autoscaling:desiredCapacitySet": "It is set when it is asked for.",
            },
        )


def _mixed(
    settings: DeploymentSettings, launch_template: ec2.LaunchTemplate
) -> autoscaling.MixedInstancesPolicy:
    return autoscaling.MixedInstancesPolicy(
        launch_template=launch_template,
        launch_template_overrides=[
            autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
            for name in (settings.instance_type, *settings.extra_instance_types)
        ],
        instances_distribution=autoscaling.InstancesDistribution(
            on_demand_base_capacity=0,
            on_demand_percentage_above_base_capacity=0 if settings.spot else 100,
            on_demand_allocation_strategy=autoscaling.OnDemandAllocationStrategy.PRIORITIZED,
            spot_allocation_strategy=autoscaling.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
        ),
    )
