"""A model of the user's to an address: published, deployed, warmed, and asked about one picture."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.contract import Route
from visionstack.classify.client import CONTENT_TYPES, Classification, ClassifierClient
from visionstack.cloud import KnownCloud
from visionstack.deploy.local import deploy, deploy_to_aws

if TYPE_CHECKING:
    from visionstack.cloud.deployment import ClassifierApi, Deployment


@dataclass(frozen=True, slots=True)
class Live:
    """Where the model answers, what it said about a picture, and how to ask it again."""

    url: str
    answer: Classification
    curl: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; `answer` is the service's own, `TOP1_ID` the user's product id."""
        return {"url": self.url, "answer": self.answer.response, "curl": self.curl}


def go_live(name: str, picture: Path, *, cloud: KnownCloud) -> Live:
    """Deploy with `classifier_model` set to a built model, then classify `picture` through the
    gateway. Raises VisionstackError of whichever step fails."""
    context = {"classifier_model": name}
    deployment: Deployment = (
        deploy(context=context).deployment if cloud == "local" else deploy_to_aws(context=context)
    )
    api = deployment.classifier_api()
    with ClassifierClient.at(api) as client:
        client.wakeup(0)
        answer = client.classify(picture)
    return Live(api.url, answer, curl_line(api, picture))


def curl_line(api: ClassifierApi, picture: Path) -> str:
    """The same call by hand. On AWS the key is left for the reader to put in."""
    content = CONTENT_TYPES.get(picture.suffix.lower(), "application/octet-stream")
    words = ["curl", "--data-binary", f"@{picture}", "-H", f"content-type: {content}"]
    if api.signing is None:
        key = api.key if api.cloud == "local" else "YOUR-API-KEY"
        words += ["-H", f"x-api-key: {key}"]
    line = shlex.join([*words, f"{api.url}{Route.RECOGNITIONS}"])
    if api.signing is not None:
        line += ' --aws-sigv4 "aws:amz:$AWS_REGION:execute-api"'
        line += ' --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'
    return line
