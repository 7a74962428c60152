"""Whole folders: a distributed map that sends batches of pictures to the classifier."""

from __future__ import annotations

import json
from typing import Any, Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from runtime.contract import RESULTS_PREFIX
from stacks.parts.acknowledgment import acknowledge, objects_finding
from stacks.parts.function import ExpiringLogGroup
from stacks.settings.model import DeploymentSettings

_WRITTEN: Final = f"{RESULTS_PREFIX}folders/"


class FolderRun(Construct):
    """A state machine with input `{"run": id}`.

    `results/folders/{run}/batches.json` in the artifacts bucket, written by its starter, is a list
    of the function's events, each with some pictures. The classifier writes its answers as JSON
    lines beside it. A batch that is refused is sent again with growing, jittered pauses; one that
    stays refused fails alone, is listed by the map run, and its pictures are those without a line.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        alias: lambda_.IAlias,
        artifacts: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        name = f"{settings.prefix}-folder"
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        machine = f"arn:{Aws.PARTITION}:states:{Aws.REGION}:{Aws.ACCOUNT_ID}"
        for actions, resource in (
            (["lambda:InvokeFunction"], alias.function_arn),
            (
                [
                    "s3:PutObject",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:AbortMultipartUpload",
                ],
                artifacts.arn_for_objects(f"{_WRITTEN}*"),
            ),
            (["states:StartExecution"], f"{machine}:stateMachine:{name}"),
            (["states:DescribeExecution", "states:StopExecution"], f"{machine}:execution:{name}/*"),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=name,
            comment="visionstack: classify every picture of a folder",
            role=role,
            definition_body=sfn.DefinitionBody.from_string(
                json.dumps(
                    _definition(
                        function=alias.function_arn,
                        artifacts=artifacts.bucket_name,
                        concurrency=settings.folder_concurrency,
                    )
                )
            ),
            logs=sfn.LogOptions(
                destination=ExpiringLogGroup(
                    self,
                    "Logs",
                    # Step Functions asks for this prefix: it shares one resource policy.
                    name=f"/aws/vendedlogs/states/{name}",
                    days=settings.log_retention_days,
                ),
                level=sfn.LogLevel.ALL,
                include_execution_data=False,
            ),
            tracing_enabled=settings.xray,
        )
        acknowledge(
            role,
            {
                objects_finding(artifacts, f"{_WRITTEN}*", seen_from=self): "One object a run.",
                "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:states:<AWS::Region>:"
                f"<AWS::AccountId>:execution:{name}/*]": "The map's own child executions.",
                "AwsSolutions-IAM5[Resource::*]": "Log delivery and X-Ray know no resources.",
            },
        )
        if not settings.xray:
            reason = "xray=true switches tracing on."
            acknowledge(
                self.machine,
                {"AwsSolutions-SF2": reason, "Serverless-StepFunctionStateMachineXray": reason},
            )


def _definition(*, function: str, artifacts: str, concurrency: int) -> dict[str, Any]:
    return {
        "StartAt": "EveryBatch",
        "States": {
            "EveryBatch": {
                "Type": "Map",
                "Label": "EveryBatch",
                "MaxConcurrency": concurrency,
                "ToleratedFailurePercentage": 100,
                "ItemReader": {
                    "Resource": f"arn:{Aws.PARTITION}:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON"},
                    "Parameters": {
                        "Bucket": artifacts,
                        "Key.$": f"States.Format('{_WRITTEN}{{}}/batches.json', $.run)",
                    },
                },
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                    "StartAt": "Classify",
                    "States": {"Classify": _classify(function)},
                },
                "ResultWriter": {
                    "Resource": f"arn:{Aws.PARTITION}:states:::s3:putObject",
                    "Parameters": {
                        "Bucket": artifacts,
                        "Prefix.$": f"States.Format('{_WRITTEN}{{}}/map', $.run)",
                    },
                },
                # Answers are in S3; a folder's worth of them would not fit a state's output.
                "ResultPath": None,
                "End": True,
            }
        },
    }


def _classify(function: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:{Aws.PARTITION}:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload.$": "$"},
        "OutputPath": "$.Payload",
        "Retry": [
            {
                "ErrorEquals": ["States.ALL"],
                "IntervalSeconds": 1,
                "BackoffRate": 2,
                "MaxAttempts": 6,
                "MaxDelaySeconds": 30,
                "JitterStrategy": "FULL",
            }
        ],
        "End": True,
    }
