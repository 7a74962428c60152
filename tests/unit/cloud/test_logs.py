"""Logs of what is deployed: every entry once, in order, also those that turn up late."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ClientError

from visionstack.cli.logs import line, seconds_of
from visionstack.cloud import logs
from visionstack.cloud.logs import Entry
from visionstack.errors import UsageError, VisionstackError


def event(at: int, message: str, *, stream: str = "i-1") -> dict[str, Any]:
    return {
        "timestamp": at,
        "message": message,
        "logStreamName": stream,
        "eventId": f"{stream}{at}{message}",
    }


class Cloud:
    """CloudFormation and CloudWatch Logs of a deployment; `pages` are what it has at each look."""

    def __init__(self, looks: list[dict[str, list[dict[str, Any]]]], stacks: set[str]) -> None:
        self.looks, self.stacks, self.look = looks, stacks, 0
        self.asked: list[int] = []

    def stack_name(self, suffix: str) -> str:
        return f"vs-{suffix}"

    def client(self, _service: str) -> Any:
        return self

    def get_paginator(self, name: str) -> Any:
        cloud = self

        class Pages:
            def paginate(self, **asked: Any) -> Any:
                return getattr(cloud, name)(**asked)

        return Pages()

    def list_stack_resources(self, **asked: str) -> list[dict[str, Any]]:
        name = asked["StackName"]
        if name not in self.stacks:
            error = {"Error": {"Code": "ValidationError", "Message": "does not exist"}}
            raise ClientError(error, "ListStackResources")
        return [
            {
                "StackResourceSummaries": [
                    {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "a-bucket"},
                    {"ResourceType": "AWS::Logs::LogGroup", "PhysicalResourceId": f"/{name}"},
                ]
            }
        ]

    def filter_log_events(self, **asked: Any) -> list[dict[str, Any]]:
        begin = asked["startTime"]
        self.asked.append(begin)
        found = self.looks[self.look].get(asked["logGroupName"])
        if found is None:
            error = {"Error": {"Code": "ResourceNotFoundException", "Message": "gone"}}
            raise ClientError(error, "FilterLogEvents")
        # Two pages, as AWS gives them.
        kept = [one for one in found if one["timestamp"] >= begin]
        return [{"events": kept[:1]}, {"events": kept[1:]}]

    def sleep(self, _seconds: float) -> None:
        self.look += 1


def test_entries_of_all_parts_come_in_order_and_once_also_the_late_ones() -> None:
    first = {
        "/vs-streaming": [event(1_000, "a"), event(3_000, "c")],
        "/vs-classifier": [event(2_000, "b", stream="env")],
    }
    late = {
        "/vs-streaming": [*first["/vs-streaming"], event(2_500, "late"), event(90_000, "d")],
        "/vs-classifier": first["/vs-classifier"],
    }
    last = {"/vs-streaming": [*late["/vs-streaming"], event(90_000, "e")], "/vs-classifier": []}
    cloud: Any = Cloud([first, late, last], {"vs-streaming", "vs-classifier"})
    where = logs.groups(cloud, logs.PARTS)
    assert where == [("streaming", "/vs-streaming"), ("classifier", "/vs-classifier")]
    entries = logs.read(cloud, where, since_ms=500, follow=True, sleep=cloud.sleep)
    assert [one.message for one in islice(entries, 6)] == ["a", "b", "c", "late", "d", "e"]
    assert cloud.asked[0] == 500
    assert cloud.asked[-1] > 60_000, "what was read long ago is not asked for again"


def test_without_following_it_ends_and_a_group_that_is_gone_is_passed_over() -> None:
    cloud: Any = Cloud([{"/vs-streaming": [event(1, "a")]}], {"vs-streaming", "vs-warmer"})
    where = logs.groups(cloud, logs.PARTS)
    assert [one.message for one in logs.read(cloud, where, since_ms=0)] == ["a"]


def test_where_nothing_is_deployed_the_commands_that_would_help_are_named() -> None:
    cloud: Any = Cloud([], set())
    with pytest.raises(VisionstackError, match="deployed") as caught:
        logs.groups(cloud, ["streaming"])
    assert "visionstack status" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            '{"time": "x", "level": "INFO", "message": "model loaded", "model": "m"}',
            "00:00:01Z streaming  model loaded model=m",
        ),
        (
            '{"level": "ERROR", "message": "an engine is broken"}',
            "00:00:01Z streaming  ERROR an engine is broken",
        ),
        ("plain\ttext", "00:00:01Z streaming  plain text"),
        (
            '{"message": "refused\\n00:00:02 streaming  model loaded"}',
            "00:00:01Z streaming  refused\n    00:00:02 streaming  model loaded",
        ),
        ("[1, 2]", "00:00:01Z streaming  [1, 2]"),
        ('{"_aws": {}, "Calls": 1}', None),
        ("START RequestId: 1 Version: 2", None),
    ],
)
def test_an_entry_is_a_line_for_people(message: str, shown: str | None) -> None:
    assert line(Entry(1_000, "streaming", "i-1", message)) == shown


def test_json_in_a_log_is_an_object_for_programs() -> None:
    assert Entry(1, "warmer", "s", '{"a": 1}').to_json()["message"] == {"a": 1}
    assert Entry(1, "warmer", "s", "text").to_json()["message"] == "text"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1d", 86_400)])
def test_spans(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    with pytest.raises(UsageError):
        seconds_of(f"{text} ago")
