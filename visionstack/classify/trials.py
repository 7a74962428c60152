"""Proof of a warm pool: the same calls at once without and with the warmer, cold ones counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.contract import Output, Stack
from visionstack import console
from visionstack.classify.client import Classification, ClassifierClient
from visionstack.cloud.aws_errors import translated
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.cloud.deployment import Deployment

_MARK: Final = re.compile(
    r"(?P<description>.*) \(visionstack trial (?P<trial>\d+); before: version (?P<version>[^,]+),"
    r" (?P<memory>\d+) MB, reserved (?P<reserved>none|\d+)\)"
)


@dataclass(frozen=True, kw_only=True)
class WarmPoolProof:
    """How many environments the warmer reached, and what that saved.

    Attributes:
        target, reached, environments: of the warmer's own report.
        cold_calls_without: cold calls among `target` at once, no environment being warm.
        cold_calls_with: the same after one cycle of the warmer.
        calls_without, calls_with: those calls themselves.
    """

    target: int
    reached: int
    environments: tuple[str, ...]
    cold_calls_without: int
    cold_calls_with: int
    calls_without: tuple[Classification, ...]
    calls_with: tuple[Classification, ...]
    rounds: int
    sleep_ms: int

    def to_json(self) -> dict[str, Any]:
        """As `report.json` holds it."""
        return {
            **vars(self),
            "environments": list(self.environments),
            "calls_without": [call.to_json() for call in self.calls_without],
            "calls_with": [call.to_json() for call in self.calls_with],
            "seconds_without": max(call.seconds for call in self.calls_without),
            "seconds_with": max(call.seconds for call in self.calls_with),
        }


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What the deployment was before a trial: all that `restore` needs."""

    version: str
    description: str
    memory_mib: int
    reserved: int | None

    def marked(self, trial: int) -> str:
        """The function's description during a trial, from which a later run can restore it."""
        reserved = "none" if self.reserved is None else str(self.reserved)
        return (
            f"{self.description} (visionstack trial {trial}; before: version {self.version},"
            f" {self.memory_mib} MB, reserved {reserved})"
        )

    @classmethod
    def of_mark(cls, found: re.Match[str]) -> _Before:
        """What a trial that never ended, because it was killed, had found."""
        reserved = found["reserved"]
        return cls(
            version=found["version"],
            description=found["description"],
            memory_mib=int(found["memory"]),
            reserved=None if reserved == "none" else int(reserved),
        )


class DeployedEnvironments:
    """The environments behind a deployed classifier's alias, by Lambda's API.

    Environments belong to a version, so `retire` publishes a further version that differs in its
    description only, and points the alias at it; `restore` points it back and deletes those.
    The description also notes what was there before, first of all and removed last: should this
    process be killed in between, the next trial finds it and restores that.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._lambda = deployment.client("lambda")
        outputs = deployment.outputs(Stack.CLASSIFIER)
        self._function = outputs[Output.CLASSIFIER_FUNCTION]
        self._alias = outputs[Output.CLASSIFIER_ALIAS]
        self._deployment = deployment
        self._before: _Before | None = None
        self._trials = 0

    def retire(self, *, memory_mib: int | None = None) -> None:
        """Turn to environments that do not exist yet, so that the next calls are cold; with
        another memory size if one is given. Raises `VisionstackError`."""
        with translated("publish another version of the classifier"):
            self._begin(memory_mib=memory_mib)
            version = self._lambda.publish_version(FunctionName=self._function)["Version"]
            self._lambda.get_waiter("published_version_active").wait(
                FunctionName=self._function, Qualifier=version
            )
            self._point_at(version)

    def resize(self, memory_mib: int) -> None:
        """Another memory size for a limited function, on the embedded cloud, where the alias then
        points at `$LATEST`: the next call starts an environment of that size."""
        with translated("change the classifier's memory size"):
            self._begin(memory_mib=memory_mib)

    def limit(self, environments: int) -> None:
        """Reserve this concurrency: no more environments are started. Raises `VisionstackError`."""
        with translated("limit the classifier's environments"):
            if self._before is None:
                self._begin(memory_mib=None)
            self._reserve(environments)
            if self._deployment.cloud == "local":
                # MiniStack counts calls of a published version against no reservation.
                self._point_at("$LATEST")

    def restore(self) -> None:
        """Undo what was changed in the deployment; nothing is done when nothing was retired or
        limited. Raises `VisionstackError`."""
        before = self._before
        if before is None:
            return
        with translated("restore the classifier; the next trial will try again"):
            self._point_at(before.version)
            self._reserve(before.reserved)
            for version in self._versions_of_trials():
                self._lambda.delete_function(FunctionName=self._function, Qualifier=version)
            self._configure(before.description, before.memory_mib)
        self._before = None

    def warm(self, target: int | None) -> dict[str, Any]:
        """One cycle of the warmer for `target` environments, or its own target; its report.

        Raises `VisionstackError` when it failed.
        """
        warmer = self._deployment.output(Stack.WARMER, Output.WARMER_FUNCTION)
        event = {} if target is None else {"target": target}
        with translated("invoke the warmer"):
            response = self._lambda.invoke(FunctionName=warmer, Payload=json.dumps(event).encode())
            report: dict[str, Any] = json.loads(response["Payload"].read())
        if "FunctionError" in response or "reached" not in report:
            raise VisionstackError(
                f"The warmer failed: {report.get('errorMessage', report)}.",
                remedy="Its log group has the details.",
            )
        return report

    def _begin(self, *, memory_mib: int | None) -> None:
        """Note what there is, at first, and make the function differ from its last version."""
        if self._before is None:
            self._before = self._found()
        self._trials += 1
        self._configure(self._before.marked(self._trials), memory_mib or self._before.memory_mib)

    def _found(self) -> _Before:
        function = self._lambda.get_function_configuration(FunctionName=self._function)
        left = _MARK.fullmatch(function.get("Description", ""))
        if left is not None:
            console.err.print("An earlier trial was cut off; it will be undone with this one.")
            # The same description again would be the same version again, with its environments.
            self._trials = int(left["trial"])
            return _Before.of_mark(left)
        alias = self._lambda.get_alias(FunctionName=self._function, Name=self._alias)
        concurrency = self._lambda.get_function_concurrency(FunctionName=self._function)
        return _Before(
            version=alias["FunctionVersion"],
            description=function.get("Description", ""),
            memory_mib=function["MemorySize"],
            reserved=concurrency.get("ReservedConcurrentExecutions"),
        )

    def _versions_of_trials(self) -> list[str]:
        pages = self._lambda.get_paginator("list_versions_by_function").paginate(
            FunctionName=self._function
        )
        return [
            one["Version"]
            for page in pages
            for one in page["Versions"]
            if one["Version"] != "$LATEST" and _MARK.fullmatch(one.get("Description", ""))
        ]

    def _configure(self, description: str, memory_mib: int) -> None:
        self._lambda.update_function_configuration(
            FunctionName=self._function, Description=description, MemorySize=memory_mib
        )
        self._lambda.get_waiter("function_updated_v2").wait(
            FunctionName=self._function, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def _reserve(self, environments: int | None) -> None:
        if environments is None:
            self._lambda.delete_function_concurrency(FunctionName=self._function)
        else:
            self._lambda.put_function_concurrency(
                FunctionName=self._function, ReservedConcurrentExecutions=environments
            )

    def _point_at(self, version: str) -> None:
        self._lambda.update_alias(
            FunctionName=self._function, Name=self._alias, FunctionVersion=version
        )


def calls_at_once(client: ClassifierClient, picture: Path, *, calls: int) -> list[Classification]:
    """`calls` classifications of one picture, all at the same time. Raises `ClassifierError`."""
    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(client.classify, [picture] * calls))


def prove_warm_pool(
    client: ClassifierClient,
    target: int,
    *,
    environments: DeployedEnvironments,
    picture: Path,
    progress: Callable[[str], object] = lambda step: None,
) -> WarmPoolProof:
    """`target` calls at once with no warm environment, then again after one warmer cycle.

    Raises:
        VisionstackError: a call or the warmer failed.
    """
    try:
        progress(f"{target} calls at once, nothing warm")
        environments.retire()
        without = calls_at_once(client, picture, calls=target)
        progress(f"warming {target} environments")
        environments.retire()
        report = environments.warm(target)
        progress(f"{target} calls at once after the warmer")
        warmed = calls_at_once(client, picture, calls=target)
    finally:
        environments.restore()
    return WarmPoolProof(
        target=target,
        reached=report["reached"],
        environments=tuple(report["environments"]),
        cold_calls_without=sum(call.cold for call in without),
        cold_calls_with=sum(call.cold for call in warmed),
        calls_without=tuple(without),
        calls_with=tuple(warmed),
        rounds=report["rounds"],
        sleep_ms=report["sleep_ms"],
    )
