"""One jsii process and one synthesis a combination of settings for the whole session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacks.packages import PackageArchives
from tests.infrastructure.packages import write_packages

COMBINATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "gpu": {
        "instance_type": "g6.xlarge",
        "extra_instance_types": "g5.xlarge,g4dn.xlarge",
        "spot": "true",
        "allowed_cidrs": "203.0.113.7/32,198.51.100.0/24",
        "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d",
        "stream_host": "stream.example.com",
        "zones": "3",
        "instances_max": "4",
        "instances_desired": "2",
        "stream_model": "yolov3,yolov3-tiny",
        "cold_start": "snapstart",
        "flow_logs": "true",
        "cors_origin": "https://203.0.113.7:8443",
        "alarm_email": "someone@example.com",
    },
    "arm": {
        "instance_type": "c7g.xlarge",
        "ami_id": "ami-0c2023a1b2c3d4e5f",
        "availability_zones": "eu-west-1a,eu-west-1b",
        "lambda_arch": "arm64",
        "lambda_wheels_python": "3.12",
        "auth": "iam",
        "waf": "true",
        "xray": "true",
        "retain_data": "true",
        "keep_for_training_days": "30",
        "cold_start": "provisioned",
        "warm_target": "2",
        "warm_hours": "9-18=8",
        "reserved_concurrency": "20",
        "prefix": "second",
    },
    "comparison": {
        "instance_types": "c7i.xlarge,g6.xlarge,c7g.xlarge",
        "comparison_minutes": "30",
        "cold_start": "none",
        "packaging": "s3-packages",
    },
    "page": {
        "cloudfront_page": "true",
        "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d",
        "stream_host": "stream.example.com",
        "cold_start": "none",
    },
}
"""Settings as `-c` gives them; every setting that adds or removes a resource is in one of them."""


class Templates:
    """The synthesized templates of one combination."""

    def __init__(self, outdir: Path) -> None:
        found = {path: json.loads(path.read_text()) for path in outdir.glob("*.template.json")}
        self.files = sorted(path for path, template in found.items() if template.get("Resources"))
        self._templates = {
            path.name.removesuffix(".template.json"): found[path] for path in self.files
        }
        self.empty = {path.name.removesuffix(".template.json") for path in found} - set(
            self._templates
        )
        """Stacks without resources: `cdk deploy` deletes them where they are deployed."""

    @property
    def stacks(self) -> set[str]:
        return set(self._templates)

    def outputs(self, stack: str) -> dict[str, Any]:
        return {key: output["Value"] for key, output in self._templates[stack]["Outputs"].items()}

    def parameters(self, stack: str) -> dict[str, Any]:
        found: dict[str, Any] = self._templates[stack].get("Parameters", {})
        return found

    def logical_ids(self, stack: str, kind: str) -> list[str]:
        """Of every resource of one kind in a stack."""
        found = self._templates[stack]["Resources"].items()
        return [name for name, resource in found if resource["Type"] == kind]

    def resources(self, stack: str, kind: str) -> list[dict[str, Any]]:
        """Properties of every resource of one kind in a stack."""
        return [
            resource.get("Properties", {})
            for resource in self._templates[stack]["Resources"].values()
            if resource["Type"] == kind
        ]

    def only(self, stack: str, kind: str) -> dict[str, Any]:
        """Properties of the one resource of this kind."""
        (found,) = self.resources(stack, kind)
        return found

    def whole_by_id(self, stack: str) -> dict[str, Any]:
        """Every resource of a stack by its logical id."""
        found: dict[str, Any] = self._templates[stack]["Resources"]
        return found

    def whole(self, stack: str, kind: str) -> list[dict[str, Any]]:
        """Resources of one kind with their policies."""
        found = self._templates[stack]["Resources"].values()
        return [resource for resource in found if resource["Type"] == kind]


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> PackageArchives:
    """Packages with a file in each, for every combination."""
    return write_packages(tmp_path_factory.mktemp("build"), COMBINATIONS.values())


@pytest.fixture(scope="session")
def synthesized(
    archives: PackageArchives, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Templates]:
    """Synthesize a combination by name, once; cdk-nag's findings are errors."""
    from stacks.app import build_app

    done: dict[str, Templates] = {}

    def synthesize(name: str) -> Templates:
        if name not in done:
            outdir = tmp_path_factory.mktemp(name)
            build_app(context=COMBINATIONS[name], archives=archives, outdir=str(outdir)).synth()
            done[name] = Templates(outdir)
        return done[name]

    return synthesize


@pytest.fixture(scope="session")
def defaults(synthesized: Callable[[str], Templates]) -> Templates:
    return synthesized("defaults")


@pytest.fixture(scope="session")
def gpu(synthesized: Callable[[str], Templates]) -> Templates:
    return synthesized("gpu")


@pytest.fixture(scope="session")
def arm(synthesized: Callable[[str], Templates]) -> Templates:
    return synthesized("arm")
