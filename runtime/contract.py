"""Names and limits on which the deployed stacks, the code in them and the client at the desk agree.

Standard library only: the Lambda functions, the instances, the CDK app and the command line all
import it, and a disagreement between two of them would be a bug in here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

PROJECT: Final = "visionstack"


# --- vocabularies: the values that a setting, an option and the runtime share -------------------
Arch = Literal["x86_64", "arm64"]
EngineName = Literal["onnxruntime", "openvino", "torch"]
EngineChoice = Literal["auto", EngineName]
Precision = Literal["fp32", "fp16", "int8"]
"""How an artifact stores its weights."""
PrecisionChoice = Literal["auto", "fp32", "int8"]
"""int8 where the artifact holds it; auto is the fastest that was measured to lose little."""
Packaging = Literal["auto", "package", "s3-packages", "model-in-package"]
"""Where a function's libraries and model come from: docs/reference.md."""
ColdStart = Literal["none", "warmer", "provisioned", "snapstart"]
StreamPolicy = Literal["live", "lossless"]
"""live: the newest frame wins; dropped ones are counted and reported. lossless: back-pressure;
every frame is answered once and in order, across reconnects."""
StreamEncoding = Literal["jpeg", "png", "webp", "bgr", "h264"]
"""How a client sends frames; their numbers on the wire are `runtime.protocol.messages.Encoding`."""


class Tls(StrEnum):
    """Who ends the TLS of a stream."""

    SELF_SIGNED = "self-signed"
    LOAD_BALANCER = "load-balancer"
    """Between it and the server it is plain."""
    OFF = "off"
    """On loopback only."""


class ScenarioKind(StrEnum):
    """How pictures arrive: MLPerf Inference's scenarios by their own meaning, and `camera`."""

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    SERVER = "server"
    OFFLINE = "offline"
    CAMERA = "camera"

    @property
    def form(self) -> str:
        """As it is written with its rate; in brackets where that may be left out."""
        return f"{self}{_RATES.get(self, '')}"


_RATES: Final = {ScenarioKind.SERVER: "[:QPS]", ScenarioKind.CAMERA: ":FPS"}
SCENARIO_FORMS: Final = ", ".join(kind.form for kind in ScenarioKind)


def parse_scenario(text: str) -> tuple[ScenarioKind, float | None]:
    """A scenario and its rate, in frames or queries a second: `offline`, `server:50`, ...

    Raises:
        ValueError: there is no such scenario, or its rate cannot be.
    """
    name, colon, number = text.partition(":")
    if name not in list(ScenarioKind):
        raise ValueError(f"There is no scenario {text!r}; there are {SCENARIO_FORMS}.")
    kind = ScenarioKind(name)
    if not colon:
        if kind is ScenarioKind.CAMERA:
            raise ValueError("A camera needs its frame rate: camera:30.")
        return kind, None
    if kind not in _RATES:
        raise ValueError(f"{kind} takes no number, but {text!r} gives one.")
    try:
        # float() takes a line break at its ends, and a variable of an instance has one line.
        rate = float(number if number == number.strip() else "")
    except ValueError:
        raise ValueError(f"{number!r} in {text!r} is no number.") from None
    if not 0 < rate <= 10_000:
        raise ValueError(f"The rate in {text!r} must be above 0 and at most 10,000.")
    return kind, rate


class Scope(StrEnum):
    """What a measurement times."""

    NETWORK = "network"
    """The engine alone: a prepared tensor in, raw outputs out."""
    PICTURE = "picture"
    """A picture file's bytes in, detections or the top 5 out."""
    STREAM = "stream"
    """A frame sent, its result received, over the network and the streaming server."""

    @property
    def meaning(self) -> str:
        """In a table's heading."""
        return {
            Scope.NETWORK: "network only",
            Scope.PICTURE: "picture to answer",
            Scope.STREAM: "end to end over the stream",
        }[self]


# --- what is taken where nobody names another ----------------------------------------------------
DEFAULT_DETECTOR: Final = "yolov3-tiny"
DEFAULT_CLASSIFIER: Final = "efficientnet-lite0"
DEFAULT_INSTANCE_TYPE: Final = "c7i.xlarge"
MEMORY_MB_PER_VCPU: Final = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""


# --- deployment: stack names and CloudFormation outputs -----------------------------------------
class Stack:
    """Suffixes of stack names: a deployed stack is called `{prefix}-{suffix}`."""

    PAGE: Final = "page"
    STORAGE: Final = "storage"
    STREAMING: Final = "streaming"
    CLASSIFIER: Final = "classifier"
    WARMER: Final = "warmer"
    COMPARISON: Final = "comparison"


class Output:
    """Keys of CloudFormation outputs, by stack."""

    # page
    PAGE_URL: Final = "PageUrl"
    # storage
    ARTIFACTS_BUCKET: Final = "ArtifactsBucketName"
    PICTURES_BUCKET: Final = "PicturesBucketName"
    # streaming
    STREAM_HOST: Final = "StreamHost"
    STREAM_LOAD_BALANCER: Final = "StreamLoadBalancerName"
    STREAM_PORT: Final = "StreamPort"
    STREAM_TOKEN_SECRET: Final = "StreamTokenSecretName"  # noqa: S105 - a name
    # Without certificate_arn alone: with it clients check the name.
    STREAM_FINGERPRINT_PARAMETER: Final = "StreamFingerprintParameterName"
    STREAM_LAUNCH_TEMPLATE: Final = "StreamLaunchTemplateId"
    STREAM_AUTO_SCALING_GROUP: Final = "StreamAutoScalingGroupName"
    # classifier
    API_URL: Final = "ApiUrl"
    API_KEY_ID: Final = "ApiKeyId"
    CLASSIFIER_FUNCTION: Final = "ClassifierFunctionName"
    CLASSIFIER_ALIAS: Final = "ClassifierAliasName"
    FOLDER_STATE_MACHINE: Final = "FolderStateMachineArn"
    # warmer
    WARMER_FUNCTION: Final = "WarmerFunctionName"
    # comparison
    COMPARISON_GROUPS: Final = "ComparisonAutoScalingGroups"


# --- runtime: environment variables -------------------------------------------------------------
class Env:
    """Environment variables that the stacks set and the runtime's Settings.from_env read."""

    PREFIX: Final = "VISIONSTACK_PREFIX"
    ARTIFACTS_BUCKET: Final = "VISIONSTACK_ARTIFACTS_BUCKET"
    PICTURES_BUCKET: Final = "VISIONSTACK_PICTURES_BUCKET"
    MODEL: Final = "VISIONSTACK_MODEL"  # one name, or several with commas; the first is the default
    ENGINE: Final = "VISIONSTACK_ENGINE"  # an EngineChoice
    LOG_LEVEL: Final = "VISIONSTACK_LOG_LEVEL"
    # streaming server
    STREAM_HOST: Final = "VISIONSTACK_STREAM_HOST"
    STREAM_PORT: Final = "VISIONSTACK_STREAM_PORT"
    STREAM_HTTP_PORT: Final = "VISIONSTACK_STREAM_HTTP_PORT"  # health, metrics, WebSocket, page
    STREAM_TOKEN_SECRET: Final = "VISIONSTACK_STREAM_TOKEN_SECRET"  # noqa: S105 - a name
    STREAM_FINGERPRINT_PARAMETER: Final = "VISIONSTACK_STREAM_FINGERPRINT_PARAMETER"
    STREAM_TLS: Final = "VISIONSTACK_STREAM_TLS"  # a Tls
    STREAM_NAMES: Final = "VISIONSTACK_STREAM_NAMES"  # in the servers' certificate, with commas
    STREAM_PAGE_ORIGIN: Final = "VISIONSTACK_STREAM_PAGE_ORIGIN"  # beside the server's own
    STREAM_GROUP: Final = "VISIONSTACK_STREAM_GROUP"  # name of the Auto Scaling group
    STREAM_STACK: Final = "VISIONSTACK_STREAM_STACK"  # CloudFormation stack that waits for servers
    STREAM_RESOURCE: Final = "VISIONSTACK_STREAM_RESOURCE"  # the group's logical id in it
    STREAM_DRAIN_SECONDS: Final = "VISIONSTACK_STREAM_DRAIN_SECONDS"
    STREAM_LOG_GROUP: Final = "VISIONSTACK_STREAM_LOG_GROUP"
    MODELS_FOLDER: Final = "VISIONSTACK_MODELS_FOLDER"  # where models lie; default $ROOT/models
    ROOT: Final = "VISIONSTACK_ROOT"  # folder the instance's asset is installed in
    # measurement on a compared instance; what is not set has the measurement's own default
    MEASURE_RUN: Final = "VISIONSTACK_MEASURE_RUN"  # default MEASURE_LATEST
    MEASURE_SCENARIOS: Final = "VISIONSTACK_MEASURE_SCENARIOS"  # with commas
    MEASURE_SCOPES: Final = "VISIONSTACK_MEASURE_SCOPES"  # with commas
    MEASURE_SECONDS: Final = "VISIONSTACK_MEASURE_SECONDS"  # at least, a scenario
    INSTANCE_TYPE: Final = "VISIONSTACK_INSTANCE_TYPE"
    IMAGE_ID: Final = "VISIONSTACK_IMAGE_ID"
    # classifier function
    WAIT_FOR_CURRENT_MODEL: Final = "VISIONSTACK_WAIT_FOR_CURRENT_MODEL"  # true or false
    COLD_START: Final = "VISIONSTACK_COLD_START"  # a ColdStart
    CORS_ORIGIN: Final = "VISIONSTACK_CORS_ORIGIN"  # of pages that may call the API; * for all
    UPLOAD_EXPIRES_SECONDS: Final = "VISIONSTACK_UPLOAD_EXPIRES_SECONDS"
    KEEP_FOR_TRAINING: Final = "VISIONSTACK_KEEP_FOR_TRAINING"  # true or false
    # warmer function
    WARM_FUNCTION: Final = "VISIONSTACK_WARM_FUNCTION"
    WARM_TARGETS: Final = "VISIONSTACK_WARM_TARGETS"  # JSON: {"default": 5, "hours": {"9-18": 8}}
    WARM_SLEEP_MS: Final = "VISIONSTACK_WARM_SLEEP_MS"


# --- metrics that the runtime publishes and the stacks scale, draw and alarm on -----------------
class StreamMetric:
    """CloudWatch metrics of the stream servers; the one dimension is `GROUP_DIMENSION`."""

    NAMESPACE: Final = "visionstack/Streaming"
    GROUP_DIMENSION: Final = "AutoScalingGroupName"
    FRAMES_PER_SECOND: Final = "FramesPerSecond"
    LATENCY_P99_MILLISECONDS: Final = "LatencyP99Milliseconds"  # frame received to result sent
    FRAMES_DROPPED: Final = "FramesDropped"  # since the last report
    BATCH_SIZE: Final = "BatchSize"  # mean since the last report
    ENGINE_BUSY_SHARE: Final = "EngineBusyShare"  # 0 to 1
    GPU_BUSY_SHARE: Final = "GpuBusyShare"  # 0 to 1, mean of all GPUs; absent without a GPU
    FRAMES_WAITING: Final = "FramesWaiting"  # in one server's queue


class WarmerMetric:
    """CloudWatch metrics of the warmer; the one dimension is `FUNCTION_DIMENSION`."""

    NAMESPACE: Final = "visionstack/Warmer"
    FUNCTION_DIMENSION: Final = "FunctionName"  # the function or alias that is kept warm
    TARGET: Final = "EnvironmentsTarget"
    REACHED: Final = "EnvironmentsReached"
    SHORT: Final = "EnvironmentsShort"  # target less reached, never below 0; the alarm watches it


class ClassifierMetric:
    """CloudWatch metrics of the classifier, a value a call; one dimension, `FUNCTION_DIMENSION`."""

    NAMESPACE: Final = "visionstack/Classifier"
    FUNCTION_DIMENSION: Final = "FunctionName"
    CALLS: Final = "Calls"
    COLD_CALLS: Final = "ColdCalls"  # the caller waited for the environment's initialisation
    CLIENT_ERRORS: Final = "ClientErrors"
    SERVER_ERRORS: Final = "ServerErrors"
    INIT: Final = "InitMilliseconds"  # cold calls only
    DOWNLOAD: Final = "DownloadMilliseconds"  # the picture from S3
    DECODE: Final = "DecodeMilliseconds"
    INFERENCE: Final = "InferenceMilliseconds"
    DURATION: Final = "DurationMilliseconds"
    BILLED: Final = "BilledMilliseconds"  # computed: duration rounded up, plus a cold call's INIT


STREAM_DRAIN_HOOK: Final = "drain"
"""Lifecycle hook that holds an ending instance until its server has drained."""
FINGERPRINT_PENDING: Final = "pending"
"""What the fingerprint parameter holds until an instance has published its certificate."""


# --- S3 layout ----------------------------------------------------------------------------------
MODELS_PREFIX: Final = "models/"
"""Artifacts bucket: models/{name}/{version}/{file}, immutable; models/{name}/current names one in
its first line, with the change that put it there below."""
LIBRARIES_MANIFEST: Final = "packages.json"
"""In a function's package without libraries: which object below `PACKAGES_PREFIX` has them."""
PACKAGES_PREFIX: Final = "packages/"
"""Artifacts bucket: libraries that a function loads at init (`s3-packages`)."""
RESULTS_PREFIX: Final = "results/"
"""Artifacts bucket: comparison and folder results.

A compared instance reads `results/{run}/picture/{file}` and writes `results/{run}/{row}/…`.
"""
MEASURE_LATEST: Final = "latest"
PICTURES_PREFIX: Final = "pictures/"
"""Pictures bucket: the API's `file_path` is relative to this prefix."""
TRAINING_PREFIX: Final = "training/"
"""Pictures bucket: `{SHA-256}.{suffix}` of each classified picture that is kept to train on."""
TRAINING_METADATA: Final = "visionstack"
"""Such an object's metadata: JSON with `top` (ids and softmax), `model`, `version`, `path`."""
EMPTY_ON_DELETE_TAG: Final = "visionstack:empty-on-delete"
"""Tag of a bucket that `runtime.emptier` may empty; its code stands alone and repeats this."""


# --- classifier API -----------------------------------------------------------------------------
class Route:
    CLASSIFICATION: Final = "/classification"
    WAKEUP: Final = "/wakeup"
    IMAGES: Final = "/images"
    RECOGNITIONS: Final = "/recognitions"


# --- limits -------------------------------------------------------------------------------------
MAX_PICTURE_BYTES: Final = 10 * 1024 * 1024
"""A picture sent to either lane; also API Gateway's largest body."""
MAX_PICTURE_PIXELS: Final = 50_000_000
"""Width times height, read from the header before anything is decoded."""
WARM_SLEEP_MS: Final = 400
"""How long a wake-up holds its environment at first: the 2020 paper's lower value."""
MAX_WAKEUP_SLEEP_MS: Final = 5_000
WARM_TARGET: Final = 5
WARM_SPARE: Final = 1
"""Environments that are kept warm, and those more that stay free meanwhile."""
UPLOAD_EXPIRES_SECONDS: Final = 300
MAX_UPLOAD_EXPIRES_SECONDS: Final = 3600
"""For which a presigned upload is good."""
MAX_WARM_ENVIRONMENTS: Final = 200
"""That one warmer holds at once, each by a call of its own."""
DETECT_CONFIDENCE: Final = 0.3
DETECT_IOU: Final = 0.45
"""Overlap above which the less certain box goes; both where nobody asks for another."""
MAX_KEY_INTERVAL: Final = 100
"""Frames of a tracked stream of which one is inferred."""
STREAM_PORT: Final = 7443
STREAM_HTTP_PORT: Final = 8443
