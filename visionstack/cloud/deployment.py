"""How the desk finds what was deployed.

`connect()` answers with a `Deployment`: clients, outputs, and the two lanes' addresses, on AWS or
on the embedded cloud. Local calls can only reach this machine: the endpoint must be loopback, and
no credentials or profile of the user's are looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from runtime import contract
from visionstack import paths
from visionstack.cloud import Cloud, KnownCloud, local_fleet, local_state
from visionstack.cloud.aws_errors import translated
from visionstack.cloud.clouds import (
    LOCAL_CREDENTIAL,
    NO_REGION_REMEDY,
    aws_region,
    local_endpoint,
    resolve_cloud,
)
from visionstack.console import err
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    import boto3

    from visionstack.cloud.signing import SignedRequests

DEPLOY: Final = {"local": "visionstack local deploy", "aws": "npx cdk deploy --all"}
"""The command that deploys to each cloud; both take settings by `-c`."""
_ATTEMPTS: Final = 8
"""Of a call on AWS. The SDK's own 3 are over within seconds of throttling."""
_BROKEN: Final = frozenset(
    {"CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
)
"""What is left of a stack that was never made or is half gone; it can only be deleted."""


class StackMissingError(VisionstackError):
    """A stack is not deployed."""


@dataclass(frozen=True)
class StreamEndpoint:
    """Where the streaming lane listens and what it wants.

    `fingerprint` is the value of the fingerprint parameter as the server published it, None when
    it has not published one (a certificate at the load balancer is checked the usual way).
    `http_port` answers health, metrics, WebSocket and the page.
    """

    host: str
    port: int
    token: str = field(repr=False)
    fingerprint: str | None
    http_port: int = contract.STREAM_HTTP_PORT


@dataclass(frozen=True)
class ClassifierApi:
    """The classifier's REST API: `url` has no slash at its end; `key` goes into `x-api-key`.

    Of a stack with auth=iam, `key` is empty and `signing` signs; `cloud` says whose credentials.
    """

    url: str
    key: str = field(repr=False)
    signing: SignedRequests | None = field(default=None, repr=False)
    cloud: KnownCloud = "aws"


@dataclass(frozen=True)
class Deployment:
    """One deployed set of stacks. Make it with `connect()`."""

    cloud: KnownCloud
    prefix: str
    endpoint_url: str | None
    """The embedded cloud's address; None on AWS."""

    @cached_property
    def session(self) -> boto3.Session:
        """A boto3 session: the user's own on AWS, one that knows no user on the embedded cloud."""
        if self.endpoint_url is None:
            with translated("open an AWS session"):
                return _aws_session()
        return _local_session()

    def client(self, service: str) -> Any:
        """A boto3 client, such as `client("s3")`. Its exceptions are boto3's; see `translated`."""
        from botocore.config import Config

        with translated(f"reach {service}"):
            if self.endpoint_url is None:
                return self.session.client(service)  # type: ignore[call-overload]
            return self.session.client(  # type: ignore[call-overload]
                service,
                endpoint_url=self.endpoint_url,
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
            )

    @cached_property
    def region(self) -> str:
        region = self.session.region_name
        if not region:
            raise VisionstackError("No AWS region is set.", remedy=NO_REGION_REMEDY)
        return region

    def stack_name(self, stack: str) -> str:
        """`{prefix}-{stack}`, with `stack` one of `contract.Stack`."""
        return f"{self.prefix}-{stack}"

    def outputs(self, stack: str) -> dict[str, str]:
        """All outputs of a stack by key; VisionstackError when it is not deployed."""
        name = self.stack_name(stack)
        found = find_stack(self, stack)
        if found is None:
            raise self._missing(name)
        if found["StackStatus"] in _BROKEN:
            raise self._broken(name, found)
        return outputs_of(found)

    def output(self, stack: str, key: str) -> str:
        """One output, such as `output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)`."""
        outputs = self.outputs(stack)
        if key not in outputs:
            raise VisionstackError(
                f"Stack {self.stack_name(stack)} has no output {key}.",
                remedy="It was deployed from another version or with other settings; deploy again.",
            )
        return outputs[key]

    def stream_endpoint(self, *, wait_s: float = 0) -> StreamEndpoint:
        """The streaming lane's address, token and fingerprint.

        On the embedded cloud the address is its load balancer's on loopback; `wait_s` is how many
        seconds to wait until that has a healthy server; VisionstackError when there is none.
        """
        outputs = self.outputs(contract.Stack.STREAMING)
        host = outputs[contract.Output.STREAM_HOST]
        port = int(outputs[contract.Output.STREAM_PORT])
        http_port = contract.STREAM_HTTP_PORT
        if self.cloud == "local":
            group = outputs[contract.Output.STREAM_AUTO_SCALING_GROUP]
            balancer = local_fleet.wait_for_healthy(
                local_state.CloudFolder.from_environment(), group=group, timeout_s=wait_s
            )
            host, port, http_port = balancer.host, balancer.stream_port, balancer.http_port
        with translated("read the token of the stream"):
            secret = self.client("secretsmanager").get_secret_value(
                SecretId=outputs[contract.Output.STREAM_TOKEN_SECRET]
            )
        return StreamEndpoint(
            host=host,
            port=port,
            token=secret["SecretString"],
            fingerprint=self._fingerprint(
                outputs.get(contract.Output.STREAM_FINGERPRINT_PARAMETER)
            ),
            http_port=http_port,
        )

    def classifier_api(self) -> ClassifierApi:
        """The classifier's address with its API key or, where the stack has none, a signature."""
        outputs = self.outputs(contract.Stack.CLASSIFIER)
        url = outputs[contract.Output.API_URL].rstrip("/")
        if self.endpoint_url is not None:
            url = local_api_url(url, endpoint=self.endpoint_url)
        if contract.Output.API_KEY_ID not in outputs:
            return ClassifierApi(url=url, key="", signing=self.signing(), cloud=self.cloud)
        with translated("read the key of the API"):
            key = self.client("apigateway").get_api_key(
                apiKey=outputs[contract.Output.API_KEY_ID], includeValue=True
            )
        return ClassifierApi(url=url, key=key["value"], cloud=self.cloud)

    def page_url(self) -> str | None:
        """The page's address by CloudFront; None where it is not deployed (cloudfront_page)."""
        try:
            return self.outputs(contract.Stack.PAGE).get(contract.Output.PAGE_URL)
        except StackMissingError:
            return None

    def signing(self) -> SignedRequests:
        """What signs calls to an API with auth=iam.

        Raises:
            VisionstackError: there are no credentials, or no region is set.
        """
        from botocore.exceptions import NoCredentialsError

        from visionstack.cloud.signing import SignedRequests

        with translated("sign calls to the API"):
            credentials = self.session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
        return SignedRequests(credentials, region=self.region)

    def _fingerprint(self, parameter: str | None) -> str | None:
        from botocore.exceptions import ClientError

        if parameter is None:
            return None
        with translated("read the server's certificate fingerprint"):
            try:
                answer = self.client("ssm").get_parameter(Name=parameter)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ParameterNotFound":
                    return None
                raise
        value: str = answer["Parameter"]["Value"].strip()
        return None if value == contract.FINGERPRINT_PENDING else value

    def _broken(self, name: str, stack: Mapping[str, Any]) -> VisionstackError:
        status, reason = stack["StackStatus"], stack.get("StackStatusReason")
        return VisionstackError(
            f"Stack {name} is in {status} and cannot be used: "
            f"{reason or 'a deployment failed, or its removal did'}.",
            remedy=f"Delete it, `npx cdk destroy {name} -c prefix={self.prefix}`, then deploy "
            f"again: `{DEPLOY[self.cloud]}`. Its events name the resource that failed: "
            f"`aws cloudformation describe-stack-events --stack-name {name}`.",
        )

    def _missing(self, name: str) -> StackMissingError:
        where = "on the embedded cloud" if self.cloud == "local" else "on AWS"
        return StackMissingError(
            f"Stack {name} is not deployed {where}.",
            remedy=f"Deploy it with `{DEPLOY[self.cloud]}`, or name another deployment with "
            "--prefix.",
        )


def connect(*, cloud: Cloud = "auto", prefix: str | None = None) -> Deployment:
    """Find the deployment; nothing is called yet.

    `auto` takes the embedded cloud when it is up, else AWS, and says which on stderr.
    `prefix` defaults to the one in cdk.json.
    """
    resolved = resolve_cloud(cloud)
    if cloud == "auto":
        err.print(f"[dim]cloud: {'embedded' if resolved == 'local' else 'AWS'}[/]")
    return Deployment(
        cloud=resolved,
        prefix=prefix or default_prefix(),
        endpoint_url=local_endpoint() if resolved == "local" else None,
    )


def find_stack(deployment: Deployment, stack: str) -> dict[str, Any] | None:
    """What CloudFormation says of one of `contract.Stack`; None where it is not deployed."""
    from botocore.exceptions import ClientError

    name = deployment.stack_name(stack)
    with translated(f"look at stack {name}"):
        try:
            answer = deployment.client("cloudformation").describe_stacks(StackName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
    found = [one for one in answer["Stacks"] if one["StackStatus"] != "DELETE_COMPLETE"]
    return found[0] if found else None


def outputs_of(stack: Mapping[str, Any] | None) -> dict[str, str]:
    """A stack's outputs by key; none of what is not deployed."""
    return {one["OutputKey"]: one["OutputValue"] for one in (stack or {}).get("Outputs", [])}


def local_api_url(url: str, *, endpoint: str) -> str:
    """`https://{id}.execute-api.…/{stage}` as the embedded cloud serves it on loopback."""
    parts = urlsplit(url)
    api, dot, _ = (parts.hostname or "").partition(".execute-api.")
    return f"{endpoint}/_aws/execute-api/{api}{parts.path}".rstrip("/") if dot else url


def default_prefix() -> str:
    """The prefix in cdk.json's settings, else the project's name."""
    if paths.PROJECT is None:
        return contract.PROJECT
    settings = json.loads((paths.PROJECT / "cdk.json").read_text())
    prefix = settings.get("context", {}).get("visionstack", {}).get("prefix", contract.PROJECT)
    return str(prefix)


def _aws_session() -> boto3.Session:
    import boto3
    import botocore.session

    attempts = ("max_attempts", "AWS_MAX_ATTEMPTS", _ATTEMPTS, int)
    core = botocore.session.Session(session_vars={"max_attempts": attempts})
    return boto3.Session(region_name=aws_region(), botocore_session=core)


def _local_session() -> boto3.Session:
    import boto3
    import botocore.session

    nothing = (None, None, None, None)
    core = botocore.session.Session(
        session_vars={
            "profile": nothing,
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
            "ca_bundle": nothing,
        }
    )
    return boto3.Session(
        aws_access_key_id=LOCAL_CREDENTIAL,
        aws_secret_access_key=LOCAL_CREDENTIAL,
        region_name=local_state.REGION,
        botocore_session=core,
    )
