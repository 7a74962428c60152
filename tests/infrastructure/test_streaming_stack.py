from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam

from runtime.contract import Env, Output, StreamMetric
from stacks.catalog import Catalog
from stacks.parts.instance import HardenedLaunchTemplate

STACK = "visionstack-streaming"
GROUP = "AWS::AutoScaling::AutoScalingGroup"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
TEMPLATE = "AWS::EC2::LaunchTemplate"


def launch_data(templates: Any, stack: str = STACK) -> dict[str, Any]:
    found: dict[str, Any] = templates.only(stack, TEMPLATE)["LaunchTemplateData"]
    return found


def script(templates: Any, stack: str = STACK) -> str:
    """The user data, with tokens as `<Name>`."""
    parts = launch_data(templates, stack)["UserData"]["Fn::Base64"]["Fn::Join"][1]
    return "".join(
        part if isinstance(part, str) else f"<{next(iter(part.values()))}>" for part in parts
    )


def ingress(templates: Any) -> list[dict[str, Any]]:
    return [
        rule
        for group in templates.resources(STACK, "AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]


def test_nobody_outside_may_connect_by_default(defaults: Any) -> None:
    assert [rule for rule in ingress(defaults) if "CidrIp" in rule or "CidrIpv6" in rule] == []
    assert defaults.resources(STACK, "AWS::EC2::SecurityGroupIngress") == []


def test_only_the_networks_named_reach_the_two_ports(gpu: Any) -> None:
    outside = {
        (rule["CidrIp"], rule["FromPort"], rule["ToPort"])
        for rule in ingress(gpu)
        if "CidrIp" in rule
    }
    assert outside == {
        (cidr, port, port)
        for cidr in ("203.0.113.7/32", "198.51.100.0/24")
        for port in (7443, 8443)
    }


def test_instances_are_reached_by_the_load_balancer_alone(gpu: Any) -> None:
    inside = [rule for rule in ingress(gpu) if "CidrIp" not in rule]
    assert {rule["FromPort"] for rule in inside} == {7443, 8443}
    for rule in inside:
        assert "LoadBalancerGroup" in rule["SourceSecurityGroupId"]["Fn::GetAtt"][0]


def test_no_port_22_and_no_key_pair_anywhere(defaults: Any, gpu: Any) -> None:
    for templates in (defaults, gpu):
        assert 22 not in {rule["FromPort"] for rule in ingress(templates)}
        assert "KeyName" not in launch_data(templates)


def test_metadata_needs_a_token_and_stays_on_the_instance(defaults: Any) -> None:
    options = launch_data(defaults)["MetadataOptions"]
    assert options["HttpTokens"] == "required"
    assert options["HttpPutResponseHopLimit"] == 1


def test_disks_are_encrypted_gp3(defaults: Any, gpu: Any) -> None:
    for templates, gib in ((defaults, 30), (gpu, 100)):
        (disk,) = launch_data(templates)["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True
        assert disk["Ebs"]["VolumeType"] == "gp3"
        assert disk["Ebs"]["VolumeSize"] == gib


def test_the_instance_type_changes_image_package_and_disk(
    defaults: Any, gpu: Any, archives: Any
) -> None:
    def image(templates: Any) -> str:
        return str(templates.only(STACK, "Custom::PinnedImage")["Parameter"])

    assert launch_data(defaults)["InstanceType"] == "c7i.xlarge"
    assert launch_data(gpu)["InstanceType"] == "g6.xlarge"
    assert "al2023" in image(defaults)
    assert image(defaults).endswith("x86_64")
    assert "/deeplearning/ami/x86_64/" in image(gpu)
    assert "pytorch-2.11-ubuntu-24.04" in image(gpu)
    asset = [line for line in script(defaults).splitlines() if "aws s3 cp" in line]
    assert asset != [line for line in script(gpu).splitlines() if "aws s3 cp" in line]


@pytest.mark.parametrize(
    ("name", "idle"), [("g6.12xlarge", 3), ("g6.xlarge", 0), ("c7i.xlarge", 0)]
)
def test_gpus_that_no_server_would_use_are_named_at_synthesis(
    name: str, idle: int, tmp_path: Path
) -> None:
    app = App(outdir=str(tmp_path))
    stack = Stack(app, "s")
    network = ec2.Vpc(stack, "Vpc", nat_gateways=0)
    HardenedLaunchTemplate(
        stack,
        "Template",
        instance_type=Catalog.load()[name],
        ami_id="ami-0c2023a1b2c3d4e5f",
        root_volume_gib=None,
        user_data=ec2.UserData.for_linux(),
        role=iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com")),
        security_group=ec2.SecurityGroup(stack, "Group", vpc=network),
    )
    # Read from the assembly: aws_cdk.assertions' Annotations meets a type that jsii does not know
    # unless its module happens to be imported.
    assembly = Path(app.synth().directory)
    texts = "".join(path.read_text() for path in assembly.glob("*.json"))
    assert bool(re.search(f"{name} has .* GPUs.*{idle} would be paid for", texts)) == bool(idle)


def test_a_named_image_is_taken_as_it_is(arm: Any) -> None:
    data = launch_data(arm, "second-streaming")
    assert data["ImageId"] == "ami-0c2023a1b2c3d4e5f"
    assert data["InstanceType"] == "c7g.xlarge"


def test_the_servers_certificate_is_for_the_load_balancers_name(defaults: Any) -> None:
    (line,) = [one for one in script(defaults).splitlines() if Env.STREAM_NAMES in one]
    assert "LoadBalancer" in line
    assert "DNSName" in line


def test_user_data_fetches_settings_installs_and_starts_in_that_order(defaults: Any) -> None:
    text = script(defaults)
    assert text.startswith("#!/bin/bash\nset -euo pipefail\n")
    steps = ["aws s3 cp", "zipfile -e", '> "$ROOT/stream.env', "bin/install.sh", "exec bash"]
    positions = [text.index(step) for step in steps]
    assert positions == sorted(positions)
    assert text.rstrip().endswith('"$ROOT/bin/start.sh"')


def test_the_token_travels_by_name(defaults: Any) -> None:
    text = script(defaults)
    (line,) = [line for line in text.splitlines() if Env.STREAM_TOKEN_SECRET in line]
    assert "<Token" in line
    assert "resolve:secretsmanager" not in text


def test_two_models_and_tls_reach_the_server_as_settings(gpu: Any, defaults: Any) -> None:
    assert f"setting {Env.MODEL} 'yolov3,yolov3-tiny'" in script(gpu)
    assert f"setting {Env.STREAM_TLS} 'load-balancer'" in script(gpu)
    assert f"setting {Env.STREAM_TLS} 'self-signed'" in script(defaults)


def test_a_certificate_ends_tls_at_the_load_balancer(defaults: Any, gpu: Any) -> None:
    assert {one["Protocol"] for one in defaults.resources(STACK, LISTENER)} == {"TCP"}
    assert {one["Protocol"] for one in gpu.resources(STACK, LISTENER)} == {"TLS"}
    health = "HealthCheckProtocol"
    assert {one[health] for one in defaults.resources(STACK, TARGETS)} == {"HTTPS"}
    assert {one[health] for one in gpu.resources(STACK, TARGETS)} == {"HTTP"}


def test_the_load_balancer_logs_where_it_ends_tls_since_aws_logs_nothing_else(
    defaults: Any, gpu: Any
) -> None:
    def logged(templates: Any) -> str:
        (balancer,) = templates.resources(STACK, "AWS::ElasticLoadBalancingV2::LoadBalancer")
        attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
        assert "Logs" in json.dumps(attributes["access_logs.s3.bucket"])
        return str(attributes["access_logs.s3.enabled"])

    assert (logged(defaults), logged(gpu)) == ("false", "true")


def test_with_a_certificate_clients_check_the_name_and_pin_nothing(gpu: Any, defaults: Any) -> None:
    outputs = gpu.outputs(STACK)
    assert outputs[Output.STREAM_HOST] == "stream.example.com"
    assert outputs[Output.STREAM_LOAD_BALANCER] == defaults.outputs(STACK)[Output.STREAM_HOST]
    assert Output.STREAM_FINGERPRINT_PARAMETER not in outputs
    assert gpu.resources(STACK, "AWS::SSM::Parameter") == []
    assert Env.STREAM_FINGERPRINT_PARAMETER not in script(gpu)
    assert len(defaults.resources(STACK, "AWS::SSM::Parameter")) == 1


def test_health_is_being_in_service_on_the_http_port(defaults: Any) -> None:
    """Not being ready: a server without a published model would be replaced for ever."""
    for targets in defaults.resources(STACK, TARGETS):
        assert targets["HealthCheckPath"] == "/in-service"
        assert targets["HealthCheckPort"] == "8443"


def test_spot_and_further_types_make_a_mixed_group(defaults: Any, gpu: Any) -> None:
    assert "MixedInstancesPolicy" not in defaults.only(STACK, GROUP)
    policy = gpu.only(STACK, GROUP)["MixedInstancesPolicy"]
    overrides = [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]]
    assert overrides == ["g6.xlarge", "g5.xlarge", "g4dn.xlarge"]
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 0


def test_the_group_has_the_size_and_the_zones_that_were_asked_for(gpu: Any, arm: Any) -> None:
    group = gpu.only(STACK, GROUP)
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == ("1", "2", "4")
    assert len(group["VPCZoneIdentifier"]) == 3
    subnets = arm.resources("second-streaming", "AWS::EC2::Subnet")
    assert {subnet["AvailabilityZone"] for subnet in subnets} == {"eu-west-1a", "eu-west-1b"}


@pytest.mark.parametrize(
    ("name", "stack"), [("defaults", STACK), ("comparison", "visionstack-comparison")]
)
def test_a_group_with_public_addresses_is_made_after_its_way_out_and_ended_before(
    name: str, stack: str, synthesized: Any
) -> None:
    resources = synthesized(name).whole_by_id(stack)
    groups = [one for one in resources.values() if one["Type"] == GROUP]
    assert groups
    for group in groups:
        routes = [one for one in group["DependsOn"] if resources[one]["Type"] == "AWS::EC2::Route"]
        assert len(routes) == len(group["Properties"]["VPCZoneIdentifier"])
        for route in routes:
            (attached,) = resources[route]["DependsOn"]
            assert resources[attached]["Type"] == "AWS::EC2::VPCGatewayAttachment"


def test_the_group_scales_on_what_the_servers_publish(defaults: Any) -> None:
    policy = defaults.only(STACK, "AWS::AutoScaling::ScalingPolicy")
    tracking = policy["TargetTrackingConfiguration"]
    metric = tracking["CustomizedMetricSpecification"]
    assert metric["Namespace"] == StreamMetric.NAMESPACE
    assert metric["MetricName"] == StreamMetric.ENGINE_BUSY_SHARE
    assert metric["Dimensions"] == [
        {"Name": StreamMetric.GROUP_DIMENSION, "Value": "visionstack-stream"}
    ]
    assert tracking["TargetValue"] == pytest.approx(0.7)


def test_the_dashboard_shows_every_metric_and_gpu_use_only_where_there_is_a_gpu(
    gpu: Any, arm: Any
) -> None:
    def shown(templates: Any, stack: str) -> set[str]:
        body = json.dumps(templates.only(stack, "AWS::CloudWatch::Dashboard")["DashboardBody"])
        names = [value for key, value in vars(StreamMetric).items() if key.isupper()]
        return {name for name in names if f'\\"{name}\\"' in body}

    every = {value for key, value in vars(StreamMetric).items() if key.isupper()}
    assert shown(gpu, STACK) == every
    assert shown(arm, "second-streaming") == every - {StreamMetric.GPU_BUSY_SHARE}


def test_an_ending_instance_is_held_until_it_has_drained(defaults: Any) -> None:
    hook = defaults.only(STACK, "AWS::AutoScaling::LifecycleHook")
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook["HeartbeatTimeout"] > 120


def test_the_role_reads_its_models_and_its_secret_and_no_other(gpu: Any) -> None:
    statements = [
        statement
        for policy in gpu.resources(STACK, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    whole = json.dumps(statements)
    assert "models/yolov3/*" in whole
    assert "models/yolov3-tiny/*" in whole
    assert 'models/*"' not in json.dumps(
        [one for one in statements if "s3:GetObject" in one["Action"]]
    )
    (unbounded,) = [one for one in statements if one["Resource"] == "*"]
    assert unbounded["Action"] == "cloudwatch:PutMetricData"
    assert unbounded["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": StreamMetric.NAMESPACE}
    }


def test_alarms_go_to_the_address_that_was_given(defaults: Any, gpu: Any) -> None:
    assert defaults.resources(STACK, "AWS::SNS::Topic") == []
    assert gpu.only(STACK, "AWS::SNS::Subscription")["Endpoint"] == "someone@example.com"
    for alarm in gpu.resources(STACK, "AWS::CloudWatch::Alarm"):
        # Target tracking brings alarms of its own; those in the template are ours.
        assert alarm["AlarmActions"]


def test_the_outputs_are_those_of_the_contract(defaults: Any) -> None:
    outputs = defaults.outputs(STACK)
    for key in (
        Output.STREAM_HOST,
        Output.STREAM_PORT,
        Output.STREAM_TOKEN_SECRET,
        Output.STREAM_FINGERPRINT_PARAMETER,
        Output.STREAM_LAUNCH_TEMPLATE,
        Output.STREAM_AUTO_SCALING_GROUP,
    ):
        assert outputs[key]
    assert outputs[Output.STREAM_PORT] == "7443"


def test_flow_logs_are_a_setting(defaults: Any, gpu: Any) -> None:
    assert defaults.resources(STACK, "AWS::EC2::FlowLog") == []
    assert gpu.only(STACK, "AWS::EC2::FlowLog")["TrafficType"] == "ALL"


def test_what_is_deployed_is_what_the_limits_of_many_cameras_are_reckoned_for(
    defaults: Any,
) -> None:
    """docs/scale.md counts targets and addresses."""
    from visionstack.scale.limits import ADDRESSES_A_ZONE, TARGET_GROUPS

    group = defaults.only(STACK, GROUP)
    assert len(group["TargetGroupARNs"]) == TARGET_GROUPS
    balancer = defaults.only(STACK, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    assert attributes["load_balancing.cross_zone.enabled"] == "true"
    sizes = {
        ipaddress.IPv4Network(one["CidrBlock"]).num_addresses
        for one in defaults.resources(STACK, "AWS::EC2::Subnet")
    }
    assert sizes == {ADDRESSES_A_ZONE + 5}
