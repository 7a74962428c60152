"""Every change of a setting on a deployed stack, checked as CloudFormation would carry it out.

The rules are AWS's: which properties replace a resource and what names it are read from the
resource providers' schemas (cfn-lint ships them); the rest is cited where it is checked. UG is the
CloudFormation user guide, TR its template reference.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cfnlint.schema import ResourceNotFoundError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.infrastructure.packages import write_packages

Template = dict[str, Any]
Assembly = dict[str, Template]
"""Templates by stack, in the order in which they are deployed."""

SUBNET = "AWS::EC2::Subnet"
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
HOLDS_DATA = {
    "AWS::S3::Bucket",
    "AWS::Logs::LogGroup",
    "AWS::SecretsManager::Secret",
    "AWS::DynamoDB::Table",
    "AWS::EFS::FileSystem",
    "AWS::KMS::Key",
    "AWS::EC2::Volume",
    "AWS::SQS::Queue",
}


def schema(kind: str) -> Mapping[str, Any]:
    try:
        return PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    except ResourceNotFoundError:
        return {}


def keys(kind: str, what: str) -> list[str]:
    """First-level properties that a schema lists under `createOnlyProperties` and the like."""
    return [path.split("/")[2] for path in schema(kind).get(what) or ()]


def within(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from within(one)


def targets(value: Any) -> set[str]:
    """Logical ids of its own stack that a value refers to."""
    found = set()
    for one in within(value):
        if "Ref" in one:
            found.add(one["Ref"])
        if "Fn::GetAtt" in one:
            found.add(one["Fn::GetAtt"][0])
    return found


def properties(template: Template, name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name].get("Properties", {})
    return found


def replaced(old: Template, new: Template) -> set[str]:
    """Logical ids that get another physical resource: UG, "Update behaviors", and the schemas."""
    kept = old["Resources"].keys() & new["Resources"].keys()
    found: set[str] = set()
    while True:
        more = {
            name
            for name in kept - found
            for key in keys(new["Resources"][name]["Type"], "createOnlyProperties")
            for before, after in [(properties(old, name), properties(new, name))]
            if before.get(key) != after.get(key) or targets(after.get(key)) & found
        }
        if not more:
            return found
        found |= more


def fixed_name(resource: dict[str, Any]) -> str | None:
    """What no second resource may be called while this one is there; None where AWS names it."""
    kind, given = resource["Type"], resource.get("Properties", {})
    identifiers = keys(kind, "primaryIdentifier")
    if identifiers and all(key in given for key in identifiers):
        return json.dumps([kind, *(given[key] for key in identifiers)])
    named = [key for key in keys(kind, "createOnlyProperties") if key.endswith("Name")]
    literal = [given[key] for key in named if key != "Name" and isinstance(given.get(key), str)]
    return json.dumps([kind, *literal]) if literal else None


def exports(template: Template) -> dict[str, Any]:
    return {
        json.dumps(one["Export"]["Name"]): one["Value"]
        for one in template.get("Outputs", {}).values()
        if "Export" in one
    }


def imports(template: Template) -> set[str]:
    return {
        json.dumps(one["Fn::ImportValue"]) for one in within(template) if "Fn::ImportValue" in one
    }


def reads(template: Template) -> set[tuple[str, str]]:
    """Stack and output of each `Fn::GetStackOutput`."""
    found = [one["Fn::GetStackOutput"] for one in within(template) if "Fn::GetStackOutput" in one]
    return {(one["StackName"], one["OutputName"]) for one in found}


class Deploy:
    """`cdk deploy --all` of `new` over `old`; `problems` has a sentence for what goes wrong."""

    def __init__(self, old: Assembly, new: Assembly) -> None:
        self.problems: list[str] = []
        self._deployed = {name: one for name, one in old.items() if one.get("Resources")}
        self._replaced: dict[str, set[str]] = {}
        for left in self._deployed.keys() - new.keys():
            self.problems.append(f"{left}: the app no longer names it, and it stays deployed")
        for name, template in new.items():
            before = self._deployed.get(name)
            if before is not None:
                self._exports_in_use(name, before, template)
            if not template.get("Resources"):
                # The cdk command deletes a stack without resources.
                if self._deployed.pop(name, None) is not None:
                    self._lost(name, before or {}, {"Resources": {}}, stack_ends=True)
                continue
            self._outputs_that_are_read(name, before, template)
            if before is not None:
                self._replaced[name] = replaced(before, template)
                self._lost(name, before, template)
                self._names(name, before, template)
                self._subnets(name, before, template)
                self._balancers(name, before, template)
            self._deployed[name] = template

    def _exports_in_use(self, name: str, before: Template, after: Template) -> None:
        """TR, `Fn::ImportValue`: an output that is imported can be neither removed nor changed."""
        kept = exports(after)
        for export, value in exports(before).items():
            users = [other for other, one in self._deployed.items() if export in imports(one)]
            if users and kept.get(export) != value:
                self.problems.append(f"{name}: export {export} is in use by {', '.join(users)}")

    def _outputs_that_are_read(self, name: str, before: Template | None, after: Template) -> None:
        """TR, `Fn::GetStackOutput`: read at an update; who read it is not told of another value."""
        for stack, output in reads(after):
            found = self._deployed.get(stack, {}).get("Outputs", {}).get(output)
            if found is None:
                self.problems.append(f"{name}: reads {output} of {stack}, which is not there")
            elif targets(found["Value"]) & self._replaced.get(stack, set()) and before == after:
                self.problems.append(f"{name}: is not updated, and keeps a stale {output}")

    def _lost(
        self, name: str, before: Template, after: Template, *, stack_ends: bool = False
    ) -> None:
        """TR, `DeletionPolicy` (as deployed, of what is removed) and `UpdateReplacePolicy`."""
        for logical, resource in before["Resources"].items():
            kind = resource["Type"]
            if logical not in after["Resources"]:
                if kind.startswith("Custom::") and not stack_ends:
                    # TR, "Custom resource request types": removed from the template, it gets a
                    # Delete, as it does when its stack ends.
                    self.problems.append(f"{name}: {logical} ({kind}) would be sent a delete")
                if kind in HOLDS_DATA and resource.get("DeletionPolicy") != "Retain":
                    self.problems.append(f"{name}: {logical} ({kind}) would be deleted")
                continue
            now = after["Resources"][logical]
            if now["Type"] != kind:
                self.problems.append(f"{name}: {logical} changes its type, which is refused")
            elif (
                kind in HOLDS_DATA
                and logical in self._replaced.get(name, ())
                and now.get("UpdateReplacePolicy") != "Retain"
            ):
                self.problems.append(f"{name}: {logical} ({kind}) would be replaced")

    def _names(self, name: str, before: Template, after: Template) -> None:
        """UG, "Name type": a resource with a fixed name cannot be replaced while it is there."""
        there = {fixed_name(one): logical for logical, one in before["Resources"].items()}
        moved = self._replaced[name]
        for logical, resource in after["Resources"].items():
            fixed = fixed_name(resource)
            if fixed is None or fixed not in there or targets(resource.get("Properties")) & moved:
                continue
            if there[fixed] != logical or logical in moved:
                self.problems.append(f"{name}: {logical} would be made beside {fixed}")

    def _subnets(self, name: str, before: Template, after: Template) -> None:
        """UG, "Update behaviors": what replaces is created before what it replaces is deleted."""
        moved = self._replaced[name]

        def places(template: Template) -> dict[str, tuple[str, ipaddress.IPv4Network]]:
            return {
                logical: (
                    json.dumps(resource["Properties"]["VpcId"]),
                    ipaddress.IPv4Network(resource["Properties"]["CidrBlock"]),
                )
                for logical, resource in template["Resources"].items()
                if resource["Type"] == SUBNET
            }

        there = places(before)
        for logical, (vpc, network) in places(after).items():
            if logical in there and logical not in moved:
                continue
            if targets(json.loads(vpc)) & moved:
                continue
            for other, (other_vpc, other_network) in there.items():
                if vpc == other_vpc and network.overlaps(other_network):
                    self.problems.append(f"{name}: {logical} would overlap {other} ({network})")

    def _balancers(self, name: str, before: Template, after: Template) -> None:
        """Network Load Balancers guide, "Update the Availability Zones": a zone's subnet is removed
        first, and another of the same zone added in a second step."""

        def zones(template: Template, balancer: str) -> dict[str, Any]:
            return {
                subnet["Ref"]: properties(template, subnet["Ref"])["AvailabilityZone"]
                for subnet in properties(template, balancer)["Subnets"]
            }

        moved = self._replaced[name]
        for logical, resource in after["Resources"].items():
            if resource["Type"] != BALANCER or logical not in before["Resources"]:
                continue
            if logical in moved:
                continue
            gone = {
                subnet: zone
                for subnet, zone in zones(before, logical).items()
                if subnet in moved or subnet not in zones(after, logical)
            }
            for subnet, zone in zones(after, logical).items():
                if subnet in zones(before, logical) and subnet not in moved:
                    continue
                for other, other_zone in gone.items():
                    # A zone by position may be any zone that is named.
                    if zone == other_zone or isinstance(zone, str) != isinstance(other_zone, str):
                        self.problems.append(f"{name}: {logical} would change {other} for {subnet}")


# What is deployed with each setting.


class Change(NamedTuple):
    before: str
    after: str


CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cold_start=none": {"cold_start": "none"},
    "cold_start=snapstart": {"cold_start": "snapstart"},
    "cold_start=provisioned": {"cold_start": "provisioned", "warm_target": "2"},
    "packaging=s3-packages": {"packaging": "s3-packages"},
    "flow_logs": {"flow_logs": "true"},
    "zones=3": {"zones": "3"},
    "zones a, b": {"availability_zones": "us-east-1a,us-east-1b"},
    "zones b, c": {"availability_zones": "us-east-1c,us-east-1b"},
    "retain_data": {"retain_data": "true"},
    "auth=iam": {"auth": "iam"},
    "instance_type": {"instance_type": "g6.xlarge"},
    "spot": {"spot": "true", "extra_instance_types": "m7i.xlarge"},
    "certificate_arn": {"certificate_arn": CERTIFICATE, "stream_host": "stream.example.com"},
    "cloudfront_page": {
        "cloudfront_page": "true",
        "certificate_arn": CERTIFICATE,
        "stream_host": "stream.example.com",
    },
    "one compared": {"instance_types": "c7i.xlarge"},
    "two compared": {"instance_types": "g6.xlarge,c7g.xlarge", "flow_logs": "true"},
    "more": {"waf": "true", "xray": "true", "alarm_email": "a@example.com", "lambda_arch": "arm64"},
}

ENDS_WITH_ITS_STACK = {
    "visionstack-page": "its files come from the checkout",
    "visionstack-warmer": "its function is gone, and entries expire anyway",
    "visionstack-comparison": "its machines are gone, their figures are in the artifacts bucket",
}
"""Stacks whose log groups and page may go, with the reason."""


@pytest.fixture(scope="module")
def assemblies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Assembly]:
    from stacks.app import build_app

    archives = write_packages(tmp_path_factory.mktemp("packages"), SETTINGS.values())

    def synthesized(context: Mapping[str, Any]) -> Assembly:
        outdir = tmp_path_factory.mktemp("assembly")
        build_app(context=context, archives=archives, outdir=str(outdir), checks=False).synth()
        return read(outdir)

    return {name: synthesized(context) for name, context in SETTINGS.items()}


def read(outdir: Path) -> Assembly:
    """The templates of an assembly; its manifest lists a stack after those that it depends on."""
    manifest = json.loads((outdir / "manifest.json").read_text())["artifacts"]
    found: Assembly = {}
    for name, artifact in manifest.items():
        if artifact["type"] == "aws:cloudformation:stack":
            stacks = [one for one in artifact["dependencies"] if not one.endswith(".assets")]
            assert set(stacks) <= found.keys()
            found[name] = json.loads((outdir / artifact["properties"]["templateFile"]).read_text())
    return found


def unexpected(problems: list[str]) -> list[str]:
    return [
        problem
        for problem in problems
        if not (
            ("(AWS::Logs::LogGroup)" in problem or problem.startswith("visionstack-page: Files"))
            and problem.split(":")[0] in ENDS_WITH_ITS_STACK
        )
    ]


def test_every_change_of_a_setting_can_be_deployed_and_loses_nothing(
    assemblies: dict[str, Assembly],
) -> None:
    found = {
        Change(before, after): problems
        for before, after in itertools.permutations(SETTINGS, 2)
        if (problems := unexpected(Deploy(assemblies[before], assemblies[after]).problems))
    }
    assert found == {}


# The checker itself, on templates of the kind that this project once had.


def stack(*, outputs: Mapping[str, Any] | None = None, **resources: Any) -> Template:
    return {"Resources": resources, "Outputs": dict(outputs or {})}


def bucket(policy: str = "Delete", **given: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::S3::Bucket",
        "Properties": given,
        "DeletionPolicy": policy,
        "UpdateReplacePolicy": policy,
    }


def subnet(network: str, zone: Any = "us-east-1a") -> dict[str, Any]:
    given = {"VpcId": {"Ref": "Vpc"}, "CidrBlock": network, "AvailabilityZone": zone}
    return {"Type": SUBNET, "Properties": given}


def balancer(*subnets: str) -> dict[str, Any]:
    return {"Type": BALANCER, "Properties": {"Subnets": [{"Ref": one} for one in subnets]}}


ALIAS = {"Type": "AWS::Lambda::Alias", "Properties": {"Name": "live"}}
EXPORTED = {"Alias": {"Value": {"Ref": "Alias"}, "Export": {"Name": "alias"}}}
PUBLISHED = {"Alias": {"Value": {"Ref": "Alias"}}}


def user(value: dict[str, Any]) -> Template:
    return stack(Rule={"Type": "AWS::Events::Rule", "Properties": {"Targets": [{"Arn": value}]}})


IMPORTING = user({"Fn::ImportValue": "alias"})
READING = user({"Fn::GetStackOutput": {"StackName": "a", "OutputName": "Alias"}})
EMPTIER = {"Type": "Custom::EmptyBucket", "Properties": {}}
MOVED = stack(
    outputs=PUBLISHED,
    Alias={"Type": "AWS::Lambda::Alias", "Properties": {"Name": "other"}},
)
LOGS = {
    "Type": "AWS::Logs::LogGroup",
    "Properties": {"LogGroupName": "x"},
    "DeletionPolicy": "Retain",
}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            {"a": stack(outputs=EXPORTED, Alias=ALIAS), "b": IMPORTING},
            {"a": stack(Alias=ALIAS), "b": {}},
            "is in use by b",
            id="leaving the warmer removes an export before its user is gone",
        ),
        pytest.param(
            {"a": stack(Alias=ALIAS), "b": READING},
            {"a": stack(Alias=ALIAS)},
            "stays deployed",
            id="a stack that the app forgets",
        ),
        pytest.param(
            {"a": stack(outputs=PUBLISHED, Alias=ALIAS), "b": READING},
            {"a": stack(Alias=ALIAS), "b": READING},
            "which is not there",
            id="an output that is read goes",
        ),
        pytest.param(
            {"a": stack(outputs=PUBLISHED, Alias=ALIAS), "b": READING},
            {"a": MOVED, "b": READING},
            "stale",
            id="a value that was read changes unseen",
        ),
        pytest.param(
            {"a": stack(One=subnet("10.0.0.0/17"), Two=subnet("10.0.128.0/17"))},
            {"a": stack(One=subnet("10.0.0.0/18"), Three=subnet("10.0.128.0/18"))},
            "would overlap",
            id="a third zone divides the network anew",
        ),
        pytest.param(
            {"a": stack(One=subnet("10.0.0.0/21"), Front=balancer("One"))},
            {"a": stack(Two=subnet("10.0.8.0/21"), Front=balancer("Two"))},
            "would change One for Two",
            id="another subnet of the same zone",
        ),
        pytest.param(
            {"a": stack(Data=bucket(), Empty=EMPTIER)},
            {"a": stack(Data=bucket("Retain"))},
            "would be sent a delete",
            id="retain_data takes the emptier away, which empties",
        ),
        pytest.param(
            {"a": stack(Data=bucket())}, {"a": stack(Other=bucket())}, "deleted", id="a bucket goes"
        ),
        pytest.param(
            {"a": stack(Data=bucket(BucketName="x"))},
            {"a": stack(Data=bucket(BucketName="y"))},
            "replaced",
            id="a bucket is renamed",
        ),
        pytest.param(
            {"a": stack(Data=LOGS)}, {"a": stack(Moved=LOGS)}, "beside", id="a fixed name moves"
        ),
        pytest.param({"a": stack(Data=ALIAS)}, {"a": stack(Data=LOGS)}, "type", id="another type"),
    ],
)
def test_what_cloudformation_would_refuse_or_lose_is_found(
    old: Assembly, new: Assembly, said: str
) -> None:
    problems = Deploy(old, new).problems
    assert problems
    assert all(said in problem for problem in problems)


def test_what_is_kept_or_retained_is_no_problem() -> None:
    before = {"a": stack(outputs=EXPORTED, Alias=ALIAS, Data=bucket("Retain")), "b": IMPORTING}
    after = {"a": stack(outputs=EXPORTED, Alias=ALIAS), "b": IMPORTING}
    assert Deploy(before, after).problems == []
