"""A Lambda setting, deployed and measured: warm calls, first calls, and where their time went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.contract import Output, Stack
from runtime.inference.artifact import Artifact
from visionstack import paths
from visionstack.cloud import local_defaults
from visionstack.cloud.aws_errors import translated
from visionstack.compare.errors import MixedResultsError
from visionstack.compare.fleets import deploy_arguments
from visionstack.compare.plan import WARM_UP_CALLS
from visionstack.compare.record import Record
from visionstack.compare.targets import FunctionSetting
from visionstack.deploy.cdk import cdk
from visionstack.models.publishing import publish

if TYPE_CHECKING:
    from visionstack.classify.client import Classification
    from visionstack.cloud.deployment import Deployment

Tell = Callable[[str], None]

LONGEST_CALL_S: Final = 180.0
"""Seconds an answer is waited for: a first call of `s3-packages` fetches and imports torch, and a
function of it may take 120 s."""


@dataclass(frozen=True)
class StackFunctions:
    """The classifier stack under the comparison's own prefix, changed from setting to setting."""

    deployment: Deployment
    record: Record
    _: KW_ONLY
    artifact: Artifact
    picture: Path
    calls: int
    cold_calls: int

    def context(self, setting: FunctionSetting) -> dict[str, object]:
        """The deployment settings of a row."""
        return {
            "prefix": self.record.prefix,
            "classifier_model": self.record.model,
            **setting.context(),
        }

    def measure(self, setting: FunctionSetting, tell: Tell) -> dict[str, Any]:
        """Deploy the setting's own stacks, measure, and destroy them for the next setting.

        Raises:
            VisionstackError: CDK, S3 or a call failed.
            MixedResultsError: the function answered with another model.
        """
        cloud = self.deployment.cloud
        context = self.context(setting)
        tell("deploying")
        storage, *rest = map(self.deployment.stack_name, setting.stacks)
        cdk(deploy_arguments(storage), cloud=cloud, context=context)
        bucket = self.deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
        client = self.deployment.client("s3")
        publish(self.artifact, client=client, bucket=bucket)
        if setting.packaging == "s3-packages":
            tell("uploading its libraries")
            self._publish_libraries(context, client, bucket)
        try:
            for stack in rest:
                cdk(deploy_arguments(stack), cloud=cloud, context=context)
            first, warm = self._calls_of(setting, tell)
        finally:
            tell("destroying its stacks")
            cdk(["destroy", *reversed(rest), "--force"], cloud=cloud, context=context)
        return self.found(first, warm)

    def _publish_libraries(self, context: dict[str, object], client: Any, bucket: str) -> None:
        """What a package of `s3-packages` fetches; the storage's deploy has built it by now."""
        from visionstack.packaging.build import settings_from
        from visionstack.packaging.libraries import publish_libraries

        given = {
            **(local_defaults.context() if self.deployment.cloud == "local" else {}),
            **context,
        }
        package = paths.BUILD / settings_from(given).classifier_package().folder
        with translated(f"upload the libraries of {package.name}"):
            publish_libraries(package, client=client, bucket=bucket)

    def _calls_of(
        self, setting: FunctionSetting, tell: Tell
    ) -> tuple[list[Classification], list[Classification]]:
        """First calls, each to an environment that did not exist, and warm ones."""
        from visionstack.classify.client import ClassifierClient
        from visionstack.classify.trials import DeployedEnvironments

        environments = DeployedEnvironments(self.deployment)
        first = []
        with ClassifierClient.of(self.deployment, timeout=LONGEST_CALL_S) as client:
            try:
                for number in range(self.cold_calls):
                    tell(f"first call {number + 1} of {self.cold_calls}")
                    environments.retire()
                    if setting.cold_start == "warmer":
                        environments.warm(1)
                    first.append(client.classify(self.picture))
                tell(f"{self.calls} warm calls")
                calls = WARM_UP_CALLS + self.calls
                warm = [client.classify(self.picture) for _ in range(calls)][WARM_UP_CALLS:]
            finally:
                environments.restore()
        return first, warm

    def found(self, first: list[Classification], warm: list[Classification]) -> dict[str, Any]:
        """What the calls say, as the record holds it.

        Raises:
            MixedResultsError: the function answered with another model version.
        """
        model = warm[-1].model
        if model.get("version") not in (None, self.record.version):
            raise MixedResultsError(
                f"The function answered with {model.get('name')} version {model.get('version')}, "
                f"this comparison is of version {self.record.version}."
            )
        surprise = [call for call in warm if call.cold]
        return {
            "model": model,
            "engine": warm[-1].response.get("engine", {}),
            "picture_sha256": self.record.picture_sha256,
            "warm": [call_json(call) for call in warm if not call.cold],
            "first": [call_json(call) for call in first],
            "cold_among_warm": len(surprise),
        }


def call_json(call: Classification) -> dict[str, Any]:
    """One call: seconds at the desk, seconds inside the function, and its timings."""
    return {
        "seconds": call.seconds,
        "inside_s": float(call.response.get("time", 0.0)),
        "cold": call.cold,
        "timings_ms": call.timings,
    }
