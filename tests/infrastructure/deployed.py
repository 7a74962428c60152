"""Synthesized templates as they are once deployed: every reference with a value, every policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.infrastructure.conftest import Templates
from tests.infrastructure.policy_evaluation import Statement

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
_HERE: Final = f"{REGION}:{ACCOUNT}"
_PSEUDO: Final = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": "amazonaws.com",
}


class Deployed:
    """One combination's stacks. Values are made up, and the same wherever they are referred to."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates

    def of_type(self, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(stack, logical id, properties) of every resource of a kind."""
        for stack in sorted(self.templates.stacks):
            for name, resource in self.templates.whole_by_id(stack).items():
                if resource["Type"] == kind:
                    yield stack, name, resource.get("Properties", {})

    def value(self, stack: str, node: Any) -> Any:
        """`node` with its intrinsic functions evaluated.

        Raises ValueError for a function or an attribute that is not known here.
        """
        if isinstance(node, list):
            return [self.value(stack, one) for one in node]
        if not isinstance(node, dict):
            return node
        if len(node) != 1 or not (next(iter(node)) == "Ref" or next(iter(node)).startswith("Fn::")):
            return {key: self.value(stack, one) for key, one in node.items()}
        ((function, argument),) = node.items()
        match function:
            case "Ref":
                return self._ref(stack, argument)
            case "Fn::GetAtt":
                return self._attribute(stack, *argument)
            case "Fn::Join":
                return argument[0].join(self.value(stack, argument[1]))
            case "Fn::Sub" if isinstance(argument, str):
                return re.sub(r"\$\{([^}]+)\}", lambda m: self._ref(stack, m[1]), argument)
            case "Fn::GetStackOutput":
                other = argument["StackName"]
                return self.value(other, self.templates.outputs(other)[argument["OutputName"]])
            case "Fn::Base64":
                return self.value(stack, argument)
        raise ValueError(f"{function} is not evaluated here")

    def stack_id(self, stack: str) -> str:
        return f"arn:aws:cloudformation:{_HERE}:stack/{stack}/0f1e2d3c"

    def role_of(self, stack: str, arn: Any) -> str:
        """The logical id of the role whose ARN a property gets."""
        function, (name, attribute) = next(iter(arn.items()))
        assert (function, attribute) == ("Fn::GetAtt", "Arn"), arn
        return str(name)

    def role_policies(self, stack: str, role: str) -> list[Statement]:
        """What is attached to a role in the template. AWS's own managed policies are not in it."""
        resources = self.templates.whole_by_id(stack)
        documents = [
            one["PolicyDocument"] for one in resources[role]["Properties"].get("Policies", [])
        ]
        for resource in resources.values():
            properties = resource.get("Properties", {})
            if {"Ref": role} in (properties.get("Roles") or []) and "PolicyDocument" in properties:
                documents.append(properties["PolicyDocument"])
        return [
            Statement.read(self.value(stack, statement))
            for document in documents
            for statement in document["Statement"]
        ]

    def bucket_policies(self) -> list[Statement]:
        """Of all buckets: each statement names its own bucket in its resources."""
        return [
            Statement.read(self.value(stack, statement))
            for stack, _, properties in self.of_type("AWS::S3::BucketPolicy")
            for statement in properties["PolicyDocument"]["Statement"]
        ]

    def _ref(self, stack: str, name: str) -> str:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name == "AWS::StackId":
            return self.stack_id(stack)
        if name == "AWS::StackName":
            return stack
        parameters = self.templates.parameters(stack)
        if name in parameters:
            return str(parameters[name].get("Default", f"parameter-{name}"))
        resource = self.templates.whole_by_id(stack)[name]
        properties = resource.get("Properties", {})
        own = f"{stack}-{name}"
        match resource["Type"]:
            case "AWS::S3::Bucket":
                return own.lower()
            case "AWS::Logs::LogGroup":
                return str(self.value(stack, properties.get("LogGroupName", own)))
            case "AWS::SSM::Parameter":
                return str(self.value(stack, properties["Name"]))
            case "AWS::SecretsManager::Secret":
                return f"arn:aws:secretsmanager:{_HERE}:secret:{own}-a1B2c3"
            case "AWS::Lambda::Alias":
                function = self.value(stack, properties["FunctionName"])
                return f"arn:aws:lambda:{_HERE}:function:{function}:{properties['Name']}"
            case "AWS::AutoScaling::AutoScalingGroup":
                return str(self.value(stack, properties["AutoScalingGroupName"]))
        return own

    def _attribute(self, stack: str, name: str, attribute: str) -> str:
        kind = self.templates.whole_by_id(stack)[name]["Type"]
        own = self._ref(stack, name)
        match kind, attribute:
            case "AWS::S3::Bucket", "Arn":
                return f"arn:aws:s3:::{own}"
            case "AWS::Logs::LogGroup", "Arn":
                # The attribute ends so: CloudFormation User Guide, AWS::Logs::LogGroup.
                return f"arn:aws:logs:{_HERE}:log-group:{own}:*"
            case "AWS::IAM::Role", "Arn":
                return f"arn:aws:iam::{ACCOUNT}:role/{own}"
            case "AWS::Lambda::Function", "Arn":
                return f"arn:aws:lambda:{_HERE}:function:{own}"
            case "AWS::Events::Rule", "Arn":
                return f"arn:aws:events:{_HERE}:rule/{own}"
            case "AWS::CloudFront::Distribution", "DomainName":
                return "d111111abcdef8.cloudfront.net"
            case _, "DNSName":
                return f"{own.lower()}.elb.{REGION}.amazonaws.com"
        raise ValueError(f"{kind} {attribute} is not evaluated here")
