"""A log group of our own, with a retention and an end."""

from __future__ import annotations

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct


class ExpiringLogGroup(logs.LogGroup):
    """Keeps entries for `days` (a time that CloudWatch Logs knows) and goes with its stack."""

    def __init__(
        self, scope: Construct, construct_id: str, *, days: int, name: str | None = None
    ) -> None:
        super().__init__(
            scope, construct_id, log_group_name=name, removal_policy=RemovalPolicy.DESTROY
        )
        # The enumeration of the L2 construct names these same numbers in words.
        cast(logs.CfnLogGroup, self.node.default_child).retention_in_days = days
