"""The machine image of the stream servers: newest when first deployed, then kept until asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aws_cdk import Aws, CustomResource, Duration
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import ExpiringLogGroup, FunctionRole

_CODE: Final = Path(__file__).resolve().parents[2] / "runtime" / "image"


class PinnedImage(Construct):
    """`image_id` is what `parameter` held when the stack was made, or `asked` last changed.

    `parameter` is an SSM parameter of AWS's own; another one is read at once.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        parameter: str,
        asked: str | None,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        logs = ExpiringLogGroup(self, "Logs", days=log_retention_days)
        role = FunctionRole(self, "Role", log_group=logs)
        # A public parameter belongs to no account.
        role.allow(
            ["ssm:GetParameter"], [f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}::parameter{parameter}"]
        )
        role.allow(["cloudformation:DescribeStacks"], [Aws.STACK_ID])
        function = lambda_.Function(
            self,
            "Function",
            description="visionstack: keeps the machine image of the stream servers",
            runtime=lambda_.Runtime.PYTHON_3_13,
            handler="handler.handle",
            code=lambda_.Code.from_asset(str(_CODE), exclude=["__pycache__", "__init__.py"]),
            memory_size=256,
            timeout=Duration.minutes(1),
            role=role,
            log_group=logs,
        )
        acknowledge(
            function,
            {
                "AwsSolutions-L1": "A file of its own, tested on this version.",
                "Serverless-LambdaLatestVersion": "A file of its own, tested on this version.",
                "Serverless-LambdaDLQ": "CloudFormation waits for the answer.",
                "Serverless-LambdaTracing": "It runs when a stack is deployed.",
            },
        )
        resource = CustomResource(
            self,
            "Image",
            service_token=function.function_arn,
            resource_type="Custom::PinnedImage",
            service_timeout=Duration.minutes(5),
            properties={"Parameter": parameter, "Asked": asked or ""},
        )
        resource.node.add_dependency(role)
        self.image_id = resource.get_att_string("ImageId")
