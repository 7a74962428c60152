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
        seconds_without, seconds_with: the slowest call of each.
    """

    target: int
    reached: int
    environments: tuple[str, ...]
    cold_calls_without: int
    cold_calls_with: int
    seconds_without: float
    seconds_with: float
    rounds: int
    sleep_ms: int

    def to_json(self) -> dict[str, Any]:
        """As `report.json` holds it."""
        return {**vars(self), "environments": list(self.environments)}


class EnvironmentControl(Protocol):
    """What the proof needs beside the API."""

    def retire(self) -> None:
        """End all warm environments, so that the next calls are cold."""
        ...

    def warm(self, target: int | None) -> dict[str, Any]:
        """One cycle of the warmer for `target` environments, or its own target; its report."""
        ...


class DeployedEnvironments:
    """The environments of a deployed classifier, by Lambda's API."""

    def __init__(self, deployment: Deployment) -> None:
        self._lambda = deployment.client("lambda")
        self._function = deployment.output(Stack.CLASSIFIER, Output.CLASSIFIER_FUNCTION)
        self._deployment = deployment

    def retire(self) -> None:
        """Change the function's description and change it back: Lambda then starts afresh."""
        from visionstack.deployment import translated

        with translated("retire the function's environments"):
            before = self._lambda.get_function_configuration(FunctionName=self._function)
            description = before.get("Description", "")
            for text in (f"{description} (retiring)".lstrip(), description):
                self._lambda.update_function_configuration(
                    FunctionName=self._function, Description=text
                )
                self._lambda.get_waiter("function_updated_v2").wait(
                    FunctionName=self._function, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
                )

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
    progress(f"{target} calls at once, nothing warm")
    environments.retire()
    without = calls_at_once(client, picture, calls=target)
    progress(f"warming {target} environments")
    environments.retire()
    report = environments.warm(target)
    progress(f"{target} calls at once after the warmer")
    warmed = calls_at_once(client, picture, calls=target)
    return WarmPoolProof(
        target=target,
        reached=report["reached"],
        environments=tuple(report["environments"]),
        cold_calls_without=sum(call.cold for call in without),
        cold_calls_with=sum(call.cold for call in warmed),
        seconds_without=max(call.seconds for call in without),
        seconds_with=max(call.seconds for call in warmed),
        rounds=report["rounds"],
        sleep_ms=report["sleep_ms"],
    )
