"""What every function of this project may do: write its own log, and trace when asked to."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct


class FunctionRole(iam.Role):
    """A role for one function; whatever else it needs is allowed action by action."""

    def __init__(self, scope: Construct, construct_id: str, *, log_group: logs.ILogGroup) -> None:
        super().__init__(
            scope, construct_id, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")
        )
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])

    def allow(self, actions: Sequence[str], resources: Sequence[str]) -> None:
        """Allow `actions` on `resources`."""
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=list(resources)))
