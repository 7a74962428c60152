"""What the cost of a deployment counts is what the templates deploy."""

from __future__ import annotations

from typing import Any

from runtime.contract import StreamMetric, WarmerMetric
from stacks.settings.model import DeploymentSettings
from visionstack.cost import standing
from visionstack.cost.prices import load
from visionstack.cost.serverless import WARMER_MEMORY_MB


def count(templates: Any, kind: str) -> int:
    return sum(len(templates.resources(stack, kind)) for stack in templates.stacks)


def names(metrics: type) -> set[str]:
    no_metric = {"NAMESPACE", "GROUP_DIMENSION", "FUNCTION_DIMENSION"}
    return {value for key, value in vars(metrics).items() if key.isupper() and key not in no_metric}


def test_what_is_counted_is_what_is_deployed(defaults: Any) -> None:
    assert count(defaults, "AWS::SecretsManager::Secret") == standing.SECRETS
    assert count(defaults, "AWS::CloudWatch::Dashboard") == standing.DASHBOARDS
    tracked = 2 * count(defaults, "AWS::AutoScaling::ScalingPolicy")
    assert count(defaults, "AWS::CloudWatch::Alarm") + tracked == standing.ALARMS
    published = names(StreamMetric) | names(WarmerMetric)
    assert len(published) == standing.CUSTOM_METRICS + standing.GPU_METRICS


def test_the_bill_has_the_defaults_disk_addresses_and_load_balancer(defaults: Any) -> None:
    streaming = "visionstack-streaming"
    bill = standing.Standing(instance_type="c7i.xlarge", gpu=False).bill(load("2026-11-21"))
    quantities = {item.name: item.quantity for item in bill.items}
    (data,) = (
        one["LaunchTemplateData"]
        for one in defaults.resources(streaming, "AWS::EC2::LaunchTemplate")
    )
    (disk,) = data["BlockDeviceMappings"]
    assert quantities["EBS gp3"] == disk["Ebs"]["VolumeSize"]
    assert data["Monitoring"] == {"Enabled": True}
    (network,) = data["NetworkInterfaces"]
    assert network["AssociatePublicIpAddress"] is True
    subnets = len(defaults.resources(streaming, "AWS::EC2::Subnet"))
    balancers = len(defaults.resources(streaming, "AWS::ElasticLoadBalancingV2::LoadBalancer"))
    (group,) = defaults.resources(streaming, "AWS::AutoScaling::AutoScalingGroup")
    addresses = int(group["MinSize"]) + subnets * balancers
    assert quantities["public IPv4"] == 730 * addresses
    assert quantities["load balancer hours"] == 730 * balancers


def test_the_warmer_is_counted_as_it_is_set(defaults: Any) -> None:
    settings = DeploymentSettings()
    warm = standing.WARM
    assert settings.cold_start == warm.cold_start
    assert settings.lambda_memory_mib == warm.memory_mb
    assert settings.warm_target + settings.warm_spare == warm.environments
    assert settings.warm_interval == warm.warm_interval_minutes
    assert settings.warm_sleep_ms == warm.wakeup_seconds * 1000
    (function,) = defaults.resources("visionstack-warmer", "AWS::Lambda::Function")
    assert function["MemorySize"] == WARMER_MEMORY_MB
