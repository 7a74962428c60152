"""`visionstack status`: what it finds on AWS, and one screen of it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError

from runtime.streaming.host.metrics import Metrics
from visionstack.cli.status import lines
from visionstack.cli.status_run import Lane, lanes, load_of, next_step
from visionstack.cloud.deployment import ClassifierApi, StreamEndpoint
from visionstack.errors import VisionstackError

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTINGS = {
    "VISIONSTACK_MODEL": "efficientnet-lite0",
    "VISIONSTACK_ARTIFACTS_BUCKET": "artifacts",
    "VISIONSTACK_COLD_START": "warmer",
}
STACKS: dict[str, dict[str, str]] = {
    "streaming": {"StreamAutoScalingGroupName": "visionstack-stream"},
    "classifier": {"ClassifierFunctionName": "classifier", "ClassifierAliasName": "live"},
    "warmer": {"WarmerFunctionName": "warmer"},
    "storage": {"ArtifactsBucketName": "artifacts"},
}
FUNCTIONS: dict[str, dict[str, Any]] = {
    "classifier": {
        "MemorySize": 2048,
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "Environment": {"Variables": SETTINGS},
    },
    "warmer": {
        "FunctionArn": "arn:aws:lambda:eu-west-1:1:function:warmer",
        "LoggingConfig": {"LogGroup": "visionstack-warmer-Logs"},
        "Environment": {
            "Variables": {
                "VISIONSTACK_WARM_TARGETS": '{"default": 6, "hours": {}}',
                "VISIONSTACK_WARM_SLEEP_MS": "500",
            }
        },
    },
}


@dataclass
class Account:
    """AWS as boto3 tells it, and what `connect` makes of it."""

    stacks: dict[str, dict[str, str]] = field(default_factory=lambda: dict(STACKS))
    types: tuple[str, ...] = ("c7i.xlarge", "c7i.xlarge", "g6.xlarge")
    prefix: str = "visionstack"
    cloud: str = "aws"
    current: dict[str, str] = field(
        default_factory=lambda: {"efficientnet-lite0": "0123456789abcdef", "yolov3-tiny": "be51"}
    )
    published: dict[str, list[str]] = field(default_factory=dict)
    """Versions by model, the oldest first, a day apart."""
    wake_ups: list[tuple[timedelta, int]] = field(default_factory=list)
    """How long ago, and how many environments answered of 6."""

    def client(self, _: str) -> Account:
        return self

    def stack_name(self, stack: str) -> str:
        return f"{self.prefix}-{stack}"

    def describe_stacks(self, *, StackName: str) -> Any:  # noqa: N803
        name = StackName.removeprefix("visionstack-")
        if name not in self.stacks:
            error = {"Error": {"Code": "ValidationError", "Message": "does not exist"}}
            raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.stacks[name].items()]
        made = NOW - timedelta(hours=50)
        return {
            "Stacks": [{"StackStatus": "CREATE_COMPLETE", "CreationTime": made, "Outputs": outputs}]
        }

    def describe_auto_scaling_groups(self, **_: Any) -> Any:
        members = [
            {"InstanceType": name, "LifecycleState": "InService", "HealthStatus": "Healthy"}
            for name in self.types
        ]
        members[0]["HealthStatus"] = "Unhealthy"
        return {"AutoScalingGroups": [{"Instances": members}]}

    def get_function_configuration(self, *, FunctionName: str, **_: Any) -> Any:  # noqa: N803
        return FUNCTIONS[FunctionName]

    def list_rule_names_by_target(self, **_: Any) -> Any:
        return {"RuleNames": ["rule"]}

    def describe_rule(self, **_: Any) -> Any:
        return {"ScheduleExpression": "rate(3 minutes)"}

    def get_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803
        (name,) = re.findall(r"^models/(.*)/current$", Key)
        return {"Body": io.BytesIO(self.current[name].encode()), "ETag": "e"}

    def list_objects_v2(self, *, Bucket: str, Prefix: str) -> Any:  # noqa: N803
        assert Bucket == "artifacts"
        _, model, below = Prefix.split("/", 2)
        versions = [] if below else self.published.get(model, [])
        return {
            "Contents": [
                {"Key": f"{Prefix}{version}/model.json", "LastModified": NOW + timedelta(days=day)}
                for day, version in enumerate(versions)
            ]
        }

    def get_paginator(self, operation: str) -> Self:
        assert operation == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> Iterator[Any]:
        assert asked["logGroupName"] == "visionstack-warmer-Logs"
        assert asked["filterPattern"] == '"EnvironmentsReached"'
        # One entry a page, as CloudWatch Logs may answer.
        for when, reached in ((NOW - ago, reached) for ago, reached in self.wake_ups):
            if when.timestamp() * 1000 >= asked["startTime"]:
                event = {
                    "timestamp": int(when.timestamp() * 1000),
                    "message": f'{{"EnvironmentsTarget":6,"EnvironmentsReached":{reached}}}',
                }
                yield {"events": [event]}

    def stream_endpoint(self) -> StreamEndpoint:
        return StreamEndpoint("lb.elb.amazonaws.com", 7443, "t", "ab", 8443)

    def classifier_api(self) -> ClassifierApi:
        return ClassifierApi("https://api/v1", "key")


def healthz(_: StreamEndpoint) -> Any:
    offer = {"version": "be51", "engine": "openvino", "precision": "bf16"}
    return {"models": {"yolov3-tiny": offer}}


def test_both_lanes_are_found_with_what_they_cost_while_nobody_uses_them() -> None:
    streaming, serverless = lanes(Account(), healthz=healthz)  # type: ignore[arg-type]
    assert streaming.runs == "2 c7i.xlarge, 1 g6.xlarge; 2 healthy"
    assert streaming.models == ["yolov3-tiny be51 on openvino bf16"]
    # By hand, us-east-1: c7i.xlarge 0.1785 and g6.xlarge 0.8048 an hour; one load balancer 0.0225;
    # gp3 0.08 a GB-month over 730 hours, 30 GB and 100 GB; five public addresses at 0.005.
    disks = (2 * 30 + 100) * 0.08 / 730
    by_hand = 2 * 0.1785 + 0.8048 + 0.0225 + disks + 5 * 0.005
    assert streaming.usd_per_hour == pytest.approx(by_hand, rel=1e-3)
    assert serverless.models == ["efficientnet-lite0 0123456789abcdef"]
    # 20 wake-ups an hour of 6 environments: 0.5 s of 2 GB, and a request each.
    by_hand = 20 * 6 * (0.5 * 2 * 0.0000166667 + 0.0000002)
    assert serverless.usd_per_hour == pytest.approx(by_hand, rel=0.05)


def test_a_server_that_cannot_be_asked_is_trouble_and_not_the_end() -> None:
    def silent(_: StreamEndpoint) -> Any:
        raise OSError("timed out")

    found = lanes(Account(), healthz=silent)  # type: ignore[arg-type]
    assert "does not answer this machine: timed out" in found[0].trouble[0]
    assert next_step("aws", found) == "visionstack doctor"


def test_what_is_worth_doing_next_follows_from_what_is_there() -> None:
    nothing = lanes(Account(stacks={}), healthz=healthz)  # type: ignore[arg-type]
    assert [lane.state for lane in nothing] == ["not deployed"] * 2
    assert next_step("aws", nothing) == "npx cdk deploy --all"
    assert next_step("local", nothing) == "visionstack local deploy"
    good = lanes(Account(), healthz=healthz)  # type: ignore[arg-type]
    assert next_step("aws", good) == "visionstack open --cloud aws"


def test_a_forgotten_comparison_is_shown() -> None:
    account = Account(stacks={**STACKS, "comparison": {}})
    compared = lanes(account, healthz=healthz)[-1]  # type: ignore[arg-type]
    assert compared.name == "comparison"
    assert "cost until" in compared.runs


def test_a_screen_holds_it_and_addresses_stand_alone() -> None:
    found = lanes(Account(), healthz=healthz)  # type: ignore[arg-type]
    told = {"cloud": "aws", "where": "eu-west-1", "lanes": found, "error": "", "next": "x"}
    text = lines(told, now=NOW)
    assert len(text) <= 26
    assert any(re.search(r" https://api/v1$", line) for line in text)
    assert any("(2 days)" in line for line in text)
    assert any("together" in line and "cdk destroy" in line for line in text)


def test_a_cloud_that_cannot_be_asked_says_why_and_what_to_do() -> None:
    error = VisionstackError("there are no AWS credentials")
    told = {"cloud": "aws", "where": "", "lanes": [], "error": error.message, "next": "Set it"}
    assert lines(told, now=NOW) == ["AWS", f"  {error.message}", "  next        Set it"]


def test_nothing_is_said_to_cost_money_on_the_embedded_cloud() -> None:
    lane = Lane(name="streaming", state="UPDATE_COMPLETE", since=NOW.isoformat(), usd_per_hour=0.2)
    told = {"cloud": "local", "where": "", "lanes": [lane], "error": "", "next": ""}
    text = "\n".join(lines(told, now=NOW))
    assert "nothing here; on AWS $0.2000 an hour" in text
    assert "together" not in text


def test_dollars_so_far_are_the_hours_since_the_stack_was_made_at_todays_rate() -> None:
    found = lanes(Account(), healthz=healthz, now=NOW)  # type: ignore[arg-type]
    for lane in found:
        assert lane.usd_per_hour
        assert lane.usd_so_far == pytest.approx(50 * lane.usd_per_hour)
    told = {"cloud": "aws", "where": "eu-west-1", "lanes": found, "error": "", "next": "x"}
    text = lines(told, now=NOW)
    (so_far, _) = [line for line in text if "so far" in line]
    assert f"about ${50 * (found[0].usd_per_hour or 0):.2f} since 2026-11-23" in so_far
    assert "an estimate" in so_far


@pytest.mark.parametrize("cloud", ["aws", "local"])
def test_a_line_is_no_wider_than_a_terminal(cloud: str) -> None:
    account = Account(
        wake_ups=[(timedelta(minutes=1), 6)],
        published={"yolov3-tiny": ["be51", "cccc1d22ab90"]},
        stacks={**STACKS, "page": {"PageUrl": "https://d111111abcdef8.cloudfront.net"}},
    )
    found = lanes(account, healthz=healthz, now=NOW)  # type: ignore[arg-type]
    told = {"cloud": cloud, "where": "eu-west-1", "lanes": found, "error": "", "next": "x"}
    text = lines(told, now=NOW)
    assert "    page      https://d111111abcdef8.cloudfront.net" in text
    for word in ("newer", "warm", "so far"):
        assert any(line.startswith(f"    {word}") for line in text)
    assert [line for line in text if len(line) > 80] == []


def test_warm_environments_are_what_the_warmer_published_last() -> None:
    wake_ups = [(timedelta(minutes=4), 6), (timedelta(minutes=1), 5), (timedelta(minutes=99), 1)]
    account = Account(wake_ups=wake_ups)
    (_, serverless) = lanes(account, healthz=healthz, now=NOW)  # type: ignore[arg-type]
    assert serverless.warm == "5 of 6 environments at 11:59 UTC"
    account = Account(wake_ups=[(timedelta(minutes=10), 6)])
    (_, serverless) = lanes(account, healthz=healthz, now=NOW)  # type: ignore[arg-type]
    assert serverless.warm == "no wake-up in the last 9 min"


def test_what_is_newer_is_told_with_the_command_that_takes_it() -> None:
    published = {
        "yolov3-tiny": ["aaaa", "be51", "cccc", "dddd"],
        "efficientnet-lite0": ["0123456789abcdef"],
    }
    streaming, serverless = lanes(Account(published=published), healthz=healthz)  # type: ignore[arg-type]
    assert streaming.newer == [
        "visionstack models promote yolov3-tiny cccc",
        "visionstack models promote yolov3-tiny dddd",
    ]
    assert serverless.newer == []
    account = Account(published=published)
    account.current["yolov3-tiny"] = "dddd"
    streaming, _ = lanes(account, healthz=healthz)  # type: ignore[arg-type]
    assert streaming.newer == ["yolov3-tiny dddd is current and not served yet"]


def test_what_a_server_did_is_told_from_its_metrics() -> None:
    metrics = Metrics()
    assert load_of("") == ""
    metrics.sessions.set(1)
    assert load_of(metrics.exposition().decode()) == "1 stream now; no frame so far"
    for _ in range(98):
        metrics.answered(model="a", outcome="found", microseconds=8_000)
    metrics.answered(model="b", outcome="failed", microseconds=15_000)
    metrics.answered(model="a", outcome="found", microseconds=900_000)
    for _ in range(1_200):
        metrics.answered(model="a", outcome="dropped", microseconds=0)
    assert load_of(metrics.exposition().decode()) == (
        "1 stream now; 1,300 frames since it started, 1,200 dropped, 1 failed; "
        "p99 in the server at most 20 ms"
    )


def test_the_load_stands_on_the_screen() -> None:
    metrics = Metrics()
    metrics.sessions.set(2)
    found = lanes(
        Account(),  # type: ignore[arg-type]
        healthz=healthz,
        metrics=lambda _: metrics.exposition().decode(),
    )
    assert found[0].load == "2 streams now; no frame so far"
