"""What services of AWS do in the name of a role: by their guides, since nothing here runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.infrastructure.recorded_calls import Call


def function_calls(*, log_group: str, traced: bool) -> list[Call]:
    """What Lambda does in its function's name (Lambda Developer Guide, "Sending Lambda function
    logs to CloudWatch Logs" and "Visualize Lambda function invocations using AWS X-Ray")."""
    stream = {"logGroupName": log_group, "logStreamName": "2026/11/25/[1]0f1e"}
    calls = [
        Call(service="logs", operation=operation, parameters=stream)
        for operation in ("CreateLogStream", "PutLogEvents")
    ]
    if traced:
        calls += [
            Call(service="xray", operation=operation, parameters={})
            for operation in ("PutTraceSegments", "PutTelemetryRecords")
        ]
    return calls


def folder_run_calls(
    definition: Mapping[str, Any], *, name: str, logged: bool, traced: bool
) -> list[Call]:
    """What Step Functions does for a state machine, by its Developer Guide.

    "Using Map state in Distributed mode", "ItemReader", "ResultWriter" (which export with
    multipart uploads) and "Using CloudWatch Logs to log execution history".
    """
    calls = []
    for state in definition["States"].values():
        assert state["Type"] == "Map", state
        assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        calls += [_states("StartExecution", stateMachineArn=name)]
        execution = {"stateMachineArn": f"{name}/EveryBatch", "executionArn": "one"}
        calls += [_states(verb, **execution) for verb in ("DescribeExecution", "StopExecution")]
        reader, writer = state["ItemReader"], state["ResultWriter"]
        assert reader["Resource"].endswith(":s3:getObject")
        assert writer["Resource"].endswith(":s3:putObject")
        calls.append(_s3("GetObject", reader["Parameters"], "Key.$"))
        calls += [
            _s3(verb, writer["Parameters"], "Prefix.$")
            for verb in (
                "PutObject",
                "GetObject",
                "ListMultipartUploadParts",
                "AbortMultipartUpload",
            )
        ]
        for task in state["ItemProcessor"]["States"].values():
            assert task["Resource"].endswith(":lambda:invoke")
            function = {"FunctionName": task["Parameters"]["FunctionName"]}
            calls.append(Call(service="lambda", operation="Invoke", parameters=function))
    if logged:
        calls += [
            Call(service="logs", operation=operation, parameters={})
            for operation in (
                "CreateLogDelivery",
                "DeleteLogDelivery",
                "DescribeLogGroups",
                "DescribeResourcePolicies",
                "GetLogDelivery",
                "ListLogDeliveries",
                "PutResourcePolicy",
                "UpdateLogDelivery",
            )
        ]
    if traced:
        # Step Functions Developer Guide, "Trace Step Functions requests with AWS X-Ray".
        calls += [
            Call(service="xray", operation=operation, parameters={})
            for operation in (
                "PutTraceSegments",
                "PutTelemetryRecords",
                "GetSamplingRules",
                "GetSamplingTargets",
            )
        ]
    return calls


def _states(operation: str, **parameters: str) -> Call:
    return Call(service="states", operation=operation, parameters=parameters)


def _s3(operation: str, parameters: Mapping[str, str], key: str) -> Call:
    """Of a key that is `States.Format('some/{}/key', $.run)`."""
    match = re.fullmatch(r"States\.Format\('([^']*)', \$\.run\)", parameters[key])
    assert match is not None, parameters
    where = {"Bucket": parameters["Bucket"], "Key": match[1].replace("{}", "run")}
    return Call(service="s3", operation=operation, parameters=where)
