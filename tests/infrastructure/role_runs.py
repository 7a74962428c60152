"""Runs what each deployed role is for, with the values of the templates, and records its calls."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image

import runtime.emptier.handler
import runtime.image.handler
import runtime.measurement.__main__
import runtime.warmer.handler
from runtime.classifier.function import Function
from runtime.contract import (
    LIBRARIES_MANIFEST,
    MEASURE_LATEST,
    MODELS_PREFIX,
    PICTURES_PREFIX,
    RESULTS_PREFIX,
    Env,
    Route,
)
from runtime.inference.artifact import (
    Artifact,
    InputSpec,
    Manifest,
    Preprocessing,
    Weights,
    file_entry,
)
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.host import aws
from runtime.streaming.models import ArtifactSource
from runtime.streaming.settings import Settings
from tests.infrastructure.deployed import Deployed
from tests.infrastructure.recorded_calls import (
    Call,
    S3Server,
    answers,
    command_line_calls,
    recorded_sdk,
)
from tests.infrastructure.service_calls import folder_run_calls, function_calls
from tests.unit.inference.conftest import write_colours

INSTANCE = "i-0123456789abcdef0"


@dataclass
class Record:
    """The calls of one role, those that AWS makes in its name among them."""

    kind: str
    """`streaming instance`, `compared instance`, `classifier`, `warmer`, `emptier`, `image` or
    `folder run`."""
    calls: list[Call] = field(default_factory=list)


Records = dict[tuple[str, str], Record]
"""By stack and the role's logical id."""


class RoleRuns:
    """Runs one combination's roles. `folder` is for what they write."""

    def __init__(self, deployed: Deployed, folder: Path) -> None:
        self._deployed = deployed
        self._folder = folder

    def records(self) -> Records:
        """Every role that code or a state machine of this project gets, and its calls."""
        found: Records = {}
        for stack, name, properties in self._deployed.of_type("AWS::EC2::LaunchTemplate"):
            self._note(found, self._instance(stack, name, properties))
        for stack, name, properties in self._deployed.of_type("AWS::Lambda::Function"):
            if name.startswith("CustomCDKBucketDeployment"):
                continue  # CDK's own
            self._note(found, self._function(stack, name, properties))
        for stack, _, properties in self._deployed.of_type("AWS::StepFunctions::StateMachine"):
            self._note(found, self._folder_run(stack, properties))
        return found

    def _note(self, found: Records, one: tuple[tuple[str, str], Record]) -> None:
        (place, record) = one
        assert place not in found, f"{place} is the role of two"
        found[place] = record

    # --- instances ------------------------------------------------------------------------------

    def _instance(
        self, stack: str, name: str, properties: dict[str, Any]
    ) -> tuple[tuple[str, str], Record]:
        data = properties["LaunchTemplateData"]
        profile = self._deployed.role_of(stack, data["IamInstanceProfile"]["Arn"])
        resources = self._deployed.templates.whole_by_id(stack)
        (role,) = resources[profile]["Properties"]["Roles"]
        script = self._deployed.value(stack, data["UserData"])
        environment = dict(re.findall(r"^  setting (\w+) '([^']*)'$", script, re.MULTILINE))
        calls = command_line_calls(script.replace("$instance", INSTANCE))
        measures = "measure.sh" in script
        run = self._measurement if measures else self._stream_server
        calls += run(environment, self._folder / name)
        kind = "compared instance" if measures else "streaming instance"
        return (stack, role["Ref"]), Record(kind, calls)

    def _stream_server(self, environment: Mapping[str, str], folder: Path) -> list[Call]:
        """What runtime.streaming asks of AWS between its start and its end."""
        settings = Settings.from_env(environment)
        for given in (settings.bucket, settings.log_group, settings.group, settings.token_secret):
            assert given
        objects: dict[tuple[str, str], bytes] = {}
        more = {"GetSecretValue": [{"SecretString": "t" * 32}]}
        with recorded_sdk(answers(objects=objects, more=more)) as calls:
            shipper = aws.shipper(settings.log_group)
            shipper.emit(logging.makeLogRecord({"msg": "started"}))
            shipper.ship()
            aws.fetch_token(settings.token_secret)
            if settings.fingerprint_parameter is not None:
                aws.publish_fingerprint(settings.fingerprint_parameter, "00")
            aws.signal_listening(settings.stack, settings.stack_resource, INSTANCE)
            source = ArtifactSource(folder=folder, engine="auto", bucket=settings.bucket)
            for model in settings.models:
                with pytest.raises(ModelUnavailableError, match="does not exist"):
                    source.wanted(model)
                objects |= published(
                    settings.bucket, unusable_detector(model, root=folder / "built" / model)
                )
                version = source.wanted(model).version
                with pytest.raises(ModelUnavailableError):  # its model.onnx is none
                    source.load(model, version)
            asyncio.run(_first_metrics(settings.group))
            aws.complete_drain(settings.group, INSTANCE)
            shipper.close()
        return calls

    def _measurement(self, environment: Mapping[str, str], folder: Path) -> list[Call]:
        """A whole `python -m runtime.measurement`, whose model turns out to be damaged."""
        bucket = environment[Env.ARTIFACTS_BUCKET]
        objects: dict[tuple[str, str], bytes] = {}
        picture = f"{RESULTS_PREFIX}{MEASURE_LATEST}/picture/dog.png"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with recorded_sdk(answers(objects=objects, more={})) as calls:
                for model in environment[Env.MODEL].split(","):
                    options = ["--no-limit", "--model", model, "--out", str(folder / model)]
                    runtime.measurement.__main__.main(options)  # nothing is published yet
                    objects |= {(bucket, picture): small_picture()}
                    objects |= published(
                        bucket, unusable_detector(model, root=folder / "built" / model)
                    )
                    runtime.measurement.__main__.main(options)
        return calls

    # --- functions ------------------------------------------------------------------------------

    def _function(
        self, stack: str, name: str, properties: dict[str, Any]
    ) -> tuple[tuple[str, str], Record]:
        value = self._deployed.value
        role = self._deployed.role_of(stack, properties["Role"])
        environment = value(stack, properties.get("Environment", {}).get("Variables", {}))
        events = self._custom_resources(stack, name)
        kinds: dict[str, tuple[str, Callable[[], list[Call]]]] = {
            "runtime.classifier.handler.handle": (
                "classifier",
                lambda: self._classifier(environment, self._folder / name),
            ),
            "runtime.warmer.handler.handle": ("warmer", lambda: self._warmer(environment)),
            "Custom::EmptyBucket": ("emptier", lambda: self._emptier(events)),
            "Custom::PinnedImage": (
                "image",
                lambda: self._image(events, self._deployed.stack_id(stack)),
            ),
        }
        handler = events[0][0] if events else properties["Handler"]
        kind, run = kinds[handler]
        group = value(stack, properties["LoggingConfig"]["LogGroup"])
        calls = function_calls(log_group=group, traced="TracingConfig" in properties) + run()
        return (stack, role), Record(kind, calls)

    def _custom_resources(self, stack: str, function: str) -> list[tuple[str, dict[str, Any]]]:
        """(type, properties) of the resources that this function serves."""
        token = {"Fn::GetAtt": [function, "Arn"]}
        return [
            (resource["Type"], self._deployed.value(stack, resource["Properties"]))
            for resource in self._deployed.templates.whole_by_id(stack).values()
            if resource.get("Properties", {}).get("ServiceToken") == token
        ]

    def _classifier(self, environment: Mapping[str, str], folder: Path) -> list[Call]:
        """Each of its methods, before and after its model and its libraries are there."""
        bucket, pictures = environment[Env.ARTIFACTS_BUCKET], environment[Env.PICTURES_BUCKET]
        model = environment[Env.MODEL].split(",")[0]
        task_root = folder / "task"
        task_root.mkdir(parents=True)
        objects: dict[tuple[str, str], bytes] = {}
        server = S3Server(objects)
        lambda_environment = {
            **environment,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": server.url,
            "LAMBDA_TASK_ROOT": str(task_root),
            "TMPDIR": str(folder),
            "AWS_LAMBDA_FUNCTION_NAME": "classifier",
        }
        try:
            self._call_all(lambda_environment)
            objects |= published(bucket, write_colours(model, root=folder / "built"))
            objects[pictures, f"{PICTURES_PREFIX}there.png"] = small_picture()
            self._call_all(lambda_environment)
            library = empty_zip()
            key = "packages/libraries.zip"
            manifest = {
                "key": key,
                "sha256": hashlib.sha256(library).hexdigest(),
                "bytes": len(library),
            }
            (task_root / LIBRARIES_MANIFEST).write_text(json.dumps(manifest))
            objects[bucket, key] = library
            self._call_all(lambda_environment)
        finally:
            server.shutdown()
            server.server_close()
        return server.calls

    def _call_all(self, environment: Mapping[str, str]) -> None:
        function = Function.from_env(environment, started=0.0)
        context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 30_000)
        asked = {"method": "images", "content_type": "image/png"}
        answer = json.loads(function.handle(_post(Route.IMAGES, asked), context)["body"])
        form = answer["upload"]
        sent = httpx.post(
            form["url"], data=form["fields"], files={"file": ("a.png", small_picture())}
        )
        assert sent.status_code == 204
        for path in ("there.png", "missing.png"):
            fields = {"method": "classification", "file_path": path}
            function.handle(_post(Route.CLASSIFICATION, fields), context)
        picture = base64.b64encode(small_picture()).decode()
        function.handle(
            {
                **_post(Route.RECOGNITIONS, {}, "image/png"),
                "body": picture,
                "isBase64Encoded": True,
            },
            context,
        )
        items = [{"Key": f"{PICTURES_PREFIX}{path}"} for path in ("there.png", "missing.png")]
        with contextlib.suppress(Exception):  # without a model the batch is to be tried again
            function.handle({"method": "folder", "run": "run", "items": items}, context)

    def _warmer(self, environment: Mapping[str, str]) -> list[Call]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with recorded_sdk(answers(objects={}, more={})) as calls:
                runtime.warmer.handler.handle({"target": 1}, None)
        return calls

    def _emptier(self, resources: list[tuple[str, dict[str, Any]]]) -> list[Call]:
        """The deletion of each of its buckets, which hold a version and an unfinished upload."""
        tag = {"Key": runtime.emptier.handler.TAG, "Value": "true"}
        calls: list[Call] = []
        for _, properties in resources:
            more = {
                "GetBucketTagging": [{"TagSet": [tag]}],
                "GetBucketPolicy": [{"Policy": '{"Version": "2012-10-17", "Statement": []}'}],
                "ListObjectVersions": [{"Versions": [{"Key": "a", "VersionId": "v"}]}],
                "ListMultipartUploads": [{"Uploads": [{"Key": "a", "UploadId": "u"}]}],
            }
            event = _custom_event("Delete", properties, PhysicalResourceId="empty")
            with (
                recorded_sdk(answers(objects={}, more=more)) as made,
                answering(event) as answered,
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.setattr(runtime.emptier.handler.time, "sleep", lambda _: None)
                context = SimpleNamespace(get_remaining_time_in_millis=lambda: 800_000)
                runtime.emptier.handler.handle(event, context)
            assert answered() == "SUCCESS"
            calls += made
        return calls

    def _image(self, resources: list[tuple[str, dict[str, Any]]], stack_id: str) -> list[Call]:
        """A first deployment, and one that asks anew."""
        calls: list[Call] = []
        for _, properties in resources:
            more = {
                "GetParameter": [{"Parameter": {"Value": f"ami-{n}"}} for n in range(2)],
                "DescribeStacks": [{"Stacks": [{"StackStatus": "UPDATE_IN_PROGRESS"}]}],
            }
            before = f"ami-0|earlier|{properties['Parameter']}|"
            asked = {**properties, "Asked": "now"}
            with recorded_sdk(answers(objects={}, more=more)) as made:
                for event in (
                    _custom_event("Create", properties, StackId=stack_id),
                    _custom_event("Update", asked, StackId=stack_id, PhysicalResourceId=before),
                ):
                    with answering(event) as answered:
                        runtime.image.handler.handle(event, None)
                    assert answered() == "SUCCESS"
            calls += made
        return calls

    # --- the state machine ----------------------------------------------------------------------

    def _folder_run(self, stack: str, properties: dict[str, Any]) -> tuple[tuple[str, str], Record]:
        """What Step Functions does for its definition."""
        value = self._deployed.value
        calls = folder_run_calls(
            json.loads(value(stack, properties["DefinitionString"])),
            name=value(stack, properties["StateMachineName"]),
            logged=properties["LoggingConfiguration"]["Level"] != "OFF",
            traced=bool(properties.get("TracingConfiguration", {}).get("Enabled")),
        )
        role = self._deployed.role_of(stack, properties["RoleArn"])
        return (stack, role), Record("folder run", calls)


def published(bucket: str, artifact: Artifact) -> dict[tuple[str, str], bytes]:
    """A model as `visionstack models publish` lays it down."""
    name, version = artifact.manifest.name, artifact.manifest.version
    found = {
        (bucket, f"{MODELS_PREFIX}{name}/{version}/{path.name}"): path.read_bytes()
        for path in artifact.folder.iterdir()
    }
    found[bucket, f"{MODELS_PREFIX}{name}/current"] = version.encode()
    return found


def unusable_detector(name: str, *, root: Path) -> Artifact:
    """An intact artifact whose model.onnx is none."""
    root.mkdir(parents=True)
    files = {"model.onnx": b"no model", "labels.txt": b"one\ntwo\n"}
    for file, content in files.items():
        (root / file).write_bytes(content)
    manifest = Manifest(
        name=name,
        task="detect",
        family="darknet",
        input=InputSpec(width=8, height=8, colour="RGB"),
        preprocessing=Preprocessing(kind="letterbox"),
        weights=Weights(trained=False, description="none"),
        source="tests",
        licence="none",
        files={file: file_entry(root / file) for file in files},
    )
    (root / "model.json").write_text(manifest.to_json())
    return Artifact(root, manifest)


def small_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def empty_zip() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one_library.py", "")
    return buffer.getvalue()


@contextlib.contextmanager
def answering(event: dict[str, Any]) -> Iterator[Callable[[], str]]:
    """A place for the answer to CloudFormation; the status that was put there is returned."""
    import http.server
    import threading

    bodies: list[bytes] = []

    class Taker(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    event["ResponseURL"] = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield lambda: str(json.loads(bodies[-1])["Status"])
    finally:
        server.shutdown()
        server.server_close()


async def _first_metrics(group: str) -> None:
    sent = asyncio.Event()

    def figures() -> Mapping[str, float]:
        if asked:
            sent.set()
        asked.append(1)
        return {"FramesPerSecond": 1.0}

    asked: list[int] = []
    task = asyncio.create_task(aws.publish_metrics(figures, group=group, every=0.0))
    await sent.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _custom_event(request: str, properties: dict[str, Any], **more: str) -> dict[str, Any]:
    ids = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}
    return {"RequestType": request, "ResourceProperties": properties, **ids, **more}


def _post(route: str, fields: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {
        "httpMethod": "POST",
        "resource": route,
        "requestContext": {},
        "headers": {"Content-Type": kind},
        "body": json.dumps(fields),
    }
