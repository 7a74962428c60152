"""Which cloud a command talks to, and the environment that makes sure it talks to no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from visionstack.cloud import Cloud, KnownCloud, local_state
from visionstack.errors import UsageError, VisionstackError

REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
NO_REGION_REMEDY: Final = (
    "Set AWS_REGION (`export AWS_REGION=us-east-1`), or `aws configure set region us-east-1`."
)
LOCAL_CREDENTIAL: Final = "test"
"""MiniStack takes any credentials; these are its account 000000000000."""


def resolve_cloud(cloud: Cloud) -> KnownCloud:
    """`auto` to where it leads.

    VisionstackError when AWS is asked for and could not be reached, and when `auto` would lead to
    AWS only because the embedded cloud has crashed.
    """
    given = os.environ.get("AWS_ENDPOINT_URL")
    if cloud == "auto":
        if local_state.running() or (given and local_state.is_loopback(given)):
            return "local"
        if local_state.crashed():
            raise VisionstackError(
                "The embedded cloud was up and has ended by itself; this command could reach "
                "AWS in its place.",
                remedy="`visionstack local deploy` starts it and deploys again, `visionstack local "
                "down` forgets it, --cloud aws goes to AWS.",
            )
        return "aws"
    if cloud == "aws" and given and local_state.is_loopback(given):
        raise VisionstackError(
            f"AWS_ENDPOINT_URL is {given}, so a call for AWS would stay on this machine.",
            remedy="Unset it, or use --cloud local.",
        )
    return cloud


def local_endpoint() -> str:
    """The embedded cloud's address: AWS_ENDPOINT_URL when set, else the one that `local up` noted.

    UsageError when it is not loopback, VisionstackError when nothing is up.
    """
    given = os.environ.get("AWS_ENDPOINT_URL")
    if given:
        if not local_state.is_loopback(given):
            raise UsageError(
                f"AWS_ENDPOINT_URL is {given}, which is not this machine.",
                remedy="Local commands only talk to loopback: unset it, or use --cloud aws.",
            )
        return given
    current = local_state.running()
    if current is None:
        raise VisionstackError(
            "The embedded cloud is not up.",
            remedy="`visionstack local up` starts it with what was deployed before, `visionstack "
            "local deploy` deploys both lanes too; `visionstack try` needs no cloud.",
        )
    return current.endpoint


def cloud_environment(cloud: KnownCloud) -> dict[str, str]:
    """The environment for a program (cdk, a script) that is to reach that cloud and no other."""
    if cloud == "local":
        return local_environment(local_endpoint())
    region = aws_region()
    names = dict.fromkeys(REGION_VARIABLES, region) if region else {}
    return {**os.environ, **names}


def aws_region() -> str | None:
    """The region that every command of AWS goes to; None when nothing names one.

    boto3 reads only AWS_DEFAULT_REGION (Boto3 documentation, Configuration), cdk and the other SDKs
    read AWS_REGION first, and both prefer the environment to the profile. So that no two of them
    go to different regions: AWS_REGION, then AWS_DEFAULT_REGION, then the profile's.
    """
    import botocore.session

    given = next((value for name in REGION_VARIABLES if (value := os.environ.get(name))), None)
    found: str | None = given or botocore.session.Session().get_config_variable("region")
    return found


def local_environment(
    endpoint: str, *, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """`environment` without anything of the user's AWS set-up, pointing at `endpoint`."""
    if not local_state.is_loopback(endpoint):
        raise UsageError(f"{endpoint} is not this machine; local commands only talk to loopback.")
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": LOCAL_CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": LOCAL_CREDENTIAL,
        "AWS_REGION": local_state.REGION,
        "AWS_DEFAULT_REGION": local_state.REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
