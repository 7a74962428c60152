"""What a rehearsal does with a deployment: each function is one step, and says what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from runtime.contract import DEFAULT_CLASSIFIER, DEFAULT_DETECTOR, Stack
from visionstack import paths
from visionstack.classify.client import ClassifierClient
from visionstack.classify.trials import DeployedEnvironments
from visionstack.cloud.aws_errors import CredentialsError
from visionstack.cloud.deployment import Deployment
from visionstack.compare import session
from visionstack.compare.fleets import delete_stacks
from visionstack.compare.plan import Request
from visionstack.compare.record import Record, Status, load
from visionstack.deploy.cdk import cdk
from visionstack.deploy.local import build_model, publish_models
from visionstack.errors import VisionstackError
from visionstack.rehearse import leftovers
from visionstack.rehearse.budget import COMPARED_MINUTES, Plan
from visionstack.rehearse.steps import NotEmbeddedError, Step
from visionstack.stream.blocking import StreamClient
from visionstack.stream.types import StreamResult

T = TypeVar("T")
"""Models whose trained weights come as packages, so that answers can be judged."""
PICTURE: Final = paths.SAMPLES / "dog.jpg"
SEEN_IN_PICTURE: Final = frozenset({"dog", "bicycle"})
IMAGENET_DOGS: Final = range(151, 269)
"""ImageNet's classes 151 (Chihuahua) to 268 (Mexican hairless)."""
FRAMES: Final = 20
WARM_TARGET: Final = 5
"""As many environments as the 2020 paper holds warm."""
SERVED_WITHIN_S: Final = 600
"""After the deployment: an instance that waited for its model fetches and loads it."""
SETTLED_WITHIN_S: Final = 1800
GONE_WITHIN_S: Final = 300


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """One rehearsal's deployment, and what was planned for it."""

    deployment: Deployment
    plan: Plan
    settings: Mapping[str, object]
    """As `-c` would give them: the ones it is deployed with at first."""
    changed_settings: Mapping[str, object]
    """Those that the change gives."""
    compared_prefix: str
    out: Path

    def steps(self) -> list[Step]:
        """All of it, in order.

        The comparison comes first: the quota of a new account is 5 vCPUs, enough for either it or
        the streaming lane.
        """
        return [
            Step(
                name="compare two types",
                expected=f"{' and '.join(self.plan.compared)} are measured with "
                f"{DEFAULT_DETECTOR}, and their stacks destroyed",
                run=self.compare,
            ),
            Step(
                name="deploy both lanes",
                expected="cdk deploys every stack, and the models are published",
                run=self.deploy,
            ),
            Step(
                name="stream",
                expected=f"{PICTURE.name} comes back with {' and '.join(sorted(SEEN_IN_PICTURE))},"
                f" and each of {FRAMES} frames is answered",
                run=self.stream,
                needs=("deploy both lanes",),
            ),
            Step(
                name="classify",
                expected=f"{PICTURE.name} is a dog to {DEFAULT_CLASSIFIER}",
                run=self.classify,
                needs=("deploy both lanes",),
            ),
            Step(
                name="warm",
                expected=f"the warmer reaches {WARM_TARGET} environments",
                run=self.warm,
                needs=("deploy both lanes",),
            ),
            Step(
                name="change a setting",
                expected="cold_start=none takes the warmer's stack away, and the classifier "
                "answers as before",
                run=self.change,
                needs=("classify",),
            ),
            Step(
                name="destroy",
                expected="cdk destroys every stack",
                run=self.destroy,
                always=True,
            ),
            Step(
                name="nothing is left",
                expected="no stack, bucket, function, API, secret, log group, role, instance, disk "
                "or network",
                run=self.nothing_left,
                always=True,
            ),
        ]

    def compare(self) -> str:
        """Raises NotEmbeddedError where the types were deployed and there is no such machine."""
        folder = self.out / "compare"
        session.start(
            Request(
                instance_types=self.plan.compared,
                seconds=1.0,
                minutes=COMPARED_MINUTES,
                picture=PICTURE,
            ),
            models=[DEFAULT_DETECTOR],
            cloud=self.deployment.cloud,
            out=folder,
            confirmed=True,  # the rehearsal's own budget has it in it
        )
        return compared(load(folder))

    def deploy(self) -> str:
        """Raises VisionstackError."""
        models = (DEFAULT_DETECTOR, DEFAULT_CLASSIFIER)
        for name in models:
            build_model(name)
        self._cdk("deploy", "--all", "--require-approval", "never")
        publish_models(self.deployment, models)
        return f"Both lanes are deployed, {' and '.join(models)} published."

    def stream(self) -> str:
        """Raises VisionstackError."""

        def first() -> set[str]:
            endpoint = self.deployment.stream_endpoint(wait_s=SERVED_WITHIN_S)
            with StreamClient(endpoint, policy="lossless") as client:
                return {one.label for one in client.detect(PICTURE).detections}

        seen = within(SERVED_WITHIN_S, first)
        if not seen >= SEEN_IN_PICTURE:
            raise VisionstackError(f"{PICTURE.name} came back with {sorted(seen) or 'nothing'}.")
        with StreamClient(self.deployment.stream_endpoint(), policy="lossless") as client:
            answers = list(client.stream([PICTURE.read_bytes()] * FRAMES))
            server = client.server
        answered = sum(isinstance(one, StreamResult) for one in answers)
        if answered != FRAMES:
            raise VisionstackError(f"{answered} of {FRAMES} frames were answered.")
        return (
            f"{', '.join(sorted(seen))}; {FRAMES} frames answered by {server.model} "
            f"{server.version} on {server.engine} {server.precision}."
        )

    def classify(self) -> str:
        """Raises VisionstackError."""
        with ClassifierClient.of(self.deployment) as client:
            answer = client.classify(PICTURE)
        best = answer.top[0]
        if int(best.id) not in IMAGENET_DOGS:
            raise VisionstackError(f"{PICTURE.name} is {best.label} to {DEFAULT_CLASSIFIER}.")
        how = "a cold" if answer.cold else "a warm"
        return f"{best.label}, in {answer.seconds:.2f} s by {how} environment."

    def warm(self) -> str:
        """Raises VisionstackError."""
        report = DeployedEnvironments(self.deployment).warm(WARM_TARGET)
        if report["reached"] < WARM_TARGET:
            raise VisionstackError(
                f"The warmer reached {report['reached']} of {WARM_TARGET} environments.",
                remedy="A new account may run 10 at once; `visionstack doctor` knows yours.",
            )
        return f"{report['reached']} environments were reached."

    def change(self) -> str:
        """Raises VisionstackError."""
        self._cdk(
            *("deploy", "--all", "--require-approval", "never"),
            settings={**self.settings, **self.changed_settings},
        )
        warmer = self.deployment.stack_name(Stack.WARMER)
        if warmer in leftovers.stacks(self.deployment):
            raise VisionstackError(f"Stack {warmer} is still there.")
        return f"{warmer} is gone. {self.classify()}"

    def destroy(self) -> str:
        """By cdk; stacks that it leaves, directly. Raises VisionstackError when one is left."""
        if not self._mine():
            return "Nothing had been deployed."
        told = "cdk destroyed every stack."
        # An interrupted deployment goes on without cdk, and CloudFormation deletes none meanwhile.
        leftovers.wait_until_none(self._updating, patience_s=SETTLED_WITHIN_S)
        try:
            self._cdk("destroy", "--all", "--force")
        except VisionstackError as error:
            told = f"cdk did not ({error.message}); what it left was deleted directly."
        if names := self._mine():
            delete_stacks(self.deployment.client("cloudformation"), names, remedy=self.remedy)
        return told

    def nothing_left(self) -> str:
        """Raises VisionstackError that names what is left."""
        prefixes = [self.deployment.prefix, self.compared_prefix]
        try:
            found = leftovers.wait_until_none(
                lambda: leftovers.left(self.deployment, prefixes), patience_s=GONE_WITHIN_S
            )
        except CredentialsError as error:
            # The command itself would be refused now: what it left is in its way.
            raise VisionstackError(
                f"Its stacks may still stand and cost money. {error.message}",
                remedy=f"Renew them (`aws sso login`, or `aws configure`). {self.remedy}",
            ) from error
        if found:
            raise VisionstackError(f"Left: {', '.join(found)}.", remedy=self.remedy)
        return "Nothing is left but the role with which API Gateway writes logs (docs/costs.md)."

    @property
    def remedy(self) -> str:
        """What removes it by hand."""
        return f"Remove it: npx cdk destroy --all -c prefix={self.deployment.prefix}"

    def _mine(self) -> list[str]:
        """Its stacks, storage first: the others read from it."""
        names = [
            name
            for name in leftovers.stacks(self.deployment)
            if name.startswith(f"{self.deployment.prefix}-")
        ]
        return sorted(names, key=lambda name: not name.endswith(f"-{Stack.STORAGE}"))

    def _updating(self) -> list[str]:
        status = leftovers.stacks(self.deployment)
        return [
            name
            for name in self._mine()
            if status.get(name, "").startswith("UPDATE_") and status[name].endswith("_IN_PROGRESS")
        ]

    def _cdk(self, *arguments: str, settings: Mapping[str, object] | None = None) -> None:
        cdk(arguments, cloud=self.deployment.cloud, context=settings or self.settings)


def compared(record: Record) -> str:
    """What a comparison of two types says of itself.

    Raises:
        NotEmbeddedError: the embedded cloud has no such machines, and everything else went well.
        VisionstackError: a type was not measured.
    """
    missing = [row for row in record.rows if row.status is not Status.MEASURED]
    told = "; ".join(f"{row.name}: {row.reason}" for row in missing)
    if not missing:
        return f"{', '.join(row.name for row in record.rows)} were measured."
    if record.cloud == "local" and all(row.other_hardware for row in missing):
        raise NotEmbeddedError(f"Their stacks were deployed and destroyed; {told}.")
    raise VisionstackError(f"{told}.")


def within(
    seconds: float,
    attempt: Callable[[], T],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The first success; the last VisionstackError when there is none in that time."""
    end = clock() + seconds
    while True:
        try:
            return attempt()
        except VisionstackError:
            if clock() >= end:
                raise
        sleep(5)
