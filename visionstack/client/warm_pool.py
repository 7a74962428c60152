"""Proof of a warm pool: the same calls at once without and with the warmer, cold ones counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime.contract import Output, Stack
from visionstack.client.classifier import Classification, ClassifierClient
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.deployment import Deployment


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


class EnvironmentControl(Protocol):
    """What the proof needs beside the API."""

    def retire(self) -> None:
        """Turn to environments that do not exist yet, so that the next calls are cold."""
        ...

    def restore(self) -> None:
        """Undo what `retire` changed in the deployment."""
        ...

    def warm(self, target: int | None) -> dict[str, Any]:
        """One cycle of the warmer for `target` environments, or its own target; its report."""
        ...


class DeployedEnvironments:
    """The environments behind a deployed classifier's alias, by Lambda's API.

    Environments belong to a version, so `retire` publishes a further version that differs in its
    description only, and points the alias at it; `restore` points it back and deletes those.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._lambda = deployment.client("lambda")
        outputs = deployment.outputs(Stack.CLASSIFIER)
        self._function = outputs[Output.CLASSIFIER_FUNCTION]
        self._alias = outputs[Output.CLASSIFIER_ALIAS]
        self._deployment = deployment
        self._before: tuple[str, str, int] | None = None
        self._reserved: list[int | None] = []
        self._published: list[str] = []

    def retire(self, *, memory_mib: int | None = None) -> None:
        """As the protocol says, and with another memory size if one is given.

        Raises `VisionstackError`.
        """
        from visionstack.deployment import translated

        with translated("publish another version of the classifier"):
            before = self._remember()
            number = len(self._published) + 1
            self._configure(f"{before[1]} (visionstack trial {number})", memory_mib or before[2])
            version = self._lambda.publish_version(FunctionName=self._function)["Version"]
            self._published.append(version)
            self._lambda.get_waiter("published_version_active").wait(
                FunctionName=self._function, Qualifier=version
            )
            self._point_at(version)

    def limit(self, environments: int) -> None:
        """Reserve this concurrency: no more environments are started. Raises `VisionstackError`."""
        from visionstack.deployment import translated

        with translated("limit the classifier's environments"):
            if not self._reserved:
                found = self._lambda.get_function_concurrency(FunctionName=self._function)
                self._reserved.append(found.get("ReservedConcurrentExecutions"))
            self._reserve(environments)
            if self._deployment.cloud == "local":
                # MiniStack counts calls of a published version against no reservation.
                self._remember()
                self._point_at("$LATEST")

    def restore(self) -> None:
        """Raises `VisionstackError`; nothing is done when nothing was retired or limited."""
        from visionstack.deployment import translated

        if self._reserved:
            with translated("restore the classifier's concurrency"):
                self._reserve(self._reserved.pop())
        if self._before is None:
            return
        version, description, memory_mib = self._before
        with translated("point the classifier's alias back"):
            self._point_at(version)
            self._configure(description, memory_mib)
            while self._published:
                self._lambda.delete_function(
                    FunctionName=self._function, Qualifier=self._published.pop()
                )
        self._before = None

    def warm(self, target: int | None) -> dict[str, Any]:
        """Invoke the warmer function. Raises `VisionstackError` when it failed."""
        from visionstack.deployment import translated

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

    def _remember(self) -> tuple[str, str, int]:
        """The alias's version, and the function's description and memory size, at first."""
        if self._before is None:
            alias = self._lambda.get_alias(FunctionName=self._function, Name=self._alias)
            function = self._lambda.get_function_configuration(FunctionName=self._function)
            self._before = (
                alias["FunctionVersion"],
                function.get("Description", ""),
                function["MemorySize"],
            )
        return self._before

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
    environments: EnvironmentControl,
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
