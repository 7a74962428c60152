"""CloudFormation custom resource: the machine image that was the newest when it was asked for.

Deployed as this one file (boto3 from the Lambda runtime). Properties: `Parameter`, the SSM
parameter in which AWS publishes the newest image, and `Asked`, a text whose change asks for it
anew. An update that changes neither, or takes `Asked` away, keeps the image, so that a deployment
replaces no instance because AWS has published another one meanwhile: a parameter of the type
`AWS::SSM::Parameter::Value` would be read anew by every update of the stack. A rollback goes back
to the image before. The attribute `ImageId` is the image; a delete does nothing.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError

DENIED = {"AccessDeniedException", "AccessDenied", "UnrecognizedClientException"}
PAUSES_S = (1, 2, 4, 8, 15)
"""Half of the minute that the function may run."""


@dataclass(frozen=True)
class Pinned:
    """What the physical id holds: the image, what it was asked with, and the image before it."""

    image: str
    asked: str
    parameter: str
    before: str

    @classmethod
    def read(cls, physical_id: str) -> Pinned:
        """Of an id that `str` has made."""
        return cls(*physical_id.split("|"))

    def __str__(self) -> str:
        return "|".join((self.image, self.asked, self.parameter, self.before))


def pinned(event: dict[str, Any], *, ssm: Any, cloudformation: Any) -> Pinned:
    """The image to start from after a create or update; AWS is asked only when it has to be."""
    wanted = event["ResourceProperties"]
    parameter, asked = wanted["Parameter"], wanted["Asked"]
    before = ""
    if event["RequestType"] == "Update":
        now = Pinned.read(event["PhysicalResourceId"])
        if (parameter, asked) == (now.parameter, now.asked):
            return now
        (stack,) = cloudformation.describe_stacks(StackName=event["StackId"])["Stacks"]
        if "ROLLBACK" in stack["StackStatus"] and now.before:
            return Pinned(now.before, asked, parameter, now.before)
        if parameter == now.parameter and not asked:
            return Pinned(now.image, asked, parameter, now.image)
        before = now.image
    return Pinned(newest(ssm, parameter), asked, parameter, before)


def newest(ssm: Any, parameter: str, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """What the parameter holds. It is asked again while it is denied: this runs seconds after its
    role was made, and IAM's changes take a while to hold everywhere (IAM user guide, "Changes that
    I make are not always immediately visible")."""
    for pause_s in (*PAUSES_S, None):
        try:
            value: str = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        except ClientError as error:
            if pause_s is None or error.response["Error"]["Code"] not in DENIED:
                raise
            sleep(pause_s)
        else:
            return value
    raise AssertionError("the last attempt returns or raises")


def handle(event: dict[str, Any], context: Any) -> None:
    """Answer CloudFormation at the URL it gave, whatever happened."""
    del context
    identity, status, reason, data = event.get("PhysicalResourceId", "none"), "SUCCESS", "", {}
    try:
        if event["RequestType"] != "Delete":
            found = pinned(
                event, ssm=boto3.client("ssm"), cloudformation=boto3.client("cloudformation")
            )
            identity, data = str(found), {"ImageId": found.image}
    except Exception as error:
        name = event["ResourceProperties"].get("Parameter")
        status, reason = "FAILED", f"could not look up the machine image {name}: {error}"
    answer = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": identity,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": data,
    }
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own address
        event["ResponseURL"],
        data=json.dumps(answer).encode(),
        method="PUT",
        headers={"Content-Type": ""},
    )
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
