"""Every role may do what it does, and nothing else.

The calls are recorded while the deployed code runs with the values that the templates hand to it,
and decided against the policies of the same templates.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from botocore import xform_name

from tests.infrastructure.conftest import COMBINATIONS, Templates
from tests.infrastructure.deployed import ACCOUNT, REGION, Deployed
from tests.infrastructure.policy_evaluation import Request, Statement, allowed
from tests.infrastructure.recorded_calls import Permissions, sdk_session
from tests.infrastructure.role_runs import Record, Records, RoleRuns

KINDS: Final = (
    "streaming instance",
    "compared instance",
    "classifier",
    "warmer",
    "emptier",
    "image",
    "folder run",
)
NOT_RUN: Final = {
    # Whose policy is one that AWS manages, for a service of AWS that acts by itself.
    "apigateway.amazonaws.com",
}
COPIER: Final = "CustomCDKBucketDeployment"
"""The role of CDK's own function, whose rights are CDK's; they are held to its two buckets."""
RUNTIME: Final = Path(__file__).resolve().parents[2] / "runtime"


class Proof:
    """One combination's roles with what they need and what they may do."""

    def __init__(self, templates: Templates, folder: Path) -> None:
        self.deployed = Deployed(templates)
        self.records: Records = RoleRuns(self.deployed, folder).records()
        self._bucket_policies = self.deployed.bucket_policies()
        ids = {stack: self.deployed.stack_id(stack) for stack in templates.stacks}
        self._permissions = Permissions(stack_ids=ids)

    def of_kind(self, kind: str) -> Iterator[tuple[str, str, Record]]:
        for (stack, role), record in self.records.items():
            if record.kind == kind:
                yield stack, role, record

    def needs(self, record: Record) -> list[Request]:
        """Without repetitions, in their order."""
        found: list[Request] = []
        for call in record.calls:
            found += [one for one in self._permissions.needed(call) if one not in found]
        return found

    def denied(self, stack: str, role: str, needs: list[Request], may: list[Statement]) -> set[str]:
        """`action on resource` of what is needed and not allowed."""
        principal = f"arn:aws:iam::{ACCOUNT}:role/{stack}-{role}"
        return {
            f"{one.action} on {one.resource}"
            for one in needs
            if not allowed(one, identity=may, resource=self._bucket_policies, principal=principal)
        }


@pytest.fixture(scope="module")
def proof(
    synthesized: Callable[[str], Templates], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Proof]:
    done: dict[str, Proof] = {}

    def prove(combination: str) -> Proof:
        if combination not in done:
            folder = tmp_path_factory.mktemp(f"{combination}-roles")
            done[combination] = Proof(synthesized(combination), folder)
        return done[combination]

    return prove


every_combination = pytest.mark.parametrize("combination", COMBINATIONS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_combination
@every_kind
def test_a_role_may_do_all_that_it_does(
    proof: Callable[[str], Proof], combination: str, kind: str
) -> None:
    found = proof(combination)
    for stack, role, record in found.of_kind(kind):
        may = found.deployed.role_policies(stack, role)
        assert found.denied(stack, role, found.needs(record), may) == set()


@every_combination
@every_kind
def test_a_role_may_do_nothing_that_it_does_not_do(
    proof: Callable[[str], Proof], combination: str, kind: str
) -> None:
    """Each action on each resource is taken out by itself, and then some call is refused."""
    found = proof(combination)
    unused = set()
    for stack, role, record in found.of_kind(kind):
        needs = found.needs(record)
        grants = [one for s in found.deployed.role_policies(stack, role) for one in s.grants()]
        for number, grant in enumerate(grants):
            rest = grants[:number] + grants[number + 1 :]
            if not found.denied(stack, role, needs, rest):
                unused.add(f"{stack} {role}: {grant.actions[0]} on {grant.resources[0]}")
    assert unused == set()


@every_combination
def test_every_role_of_the_templates_was_run(
    proof: Callable[[str], Proof], combination: str
) -> None:
    found = proof(combination)
    for stack, role, properties in found.deployed.of_type("AWS::IAM::Role"):
        (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
        if role.startswith(COPIER):
            grants = [one for s in found.deployed.role_policies(stack, role) for one in s.grants()]
            assert {_bucket(one.resources[0]) for one in grants} == {
                f"{stack}-files",
                f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}",
            }
            continue
        if trust["Principal"]["Service"] in NOT_RUN:
            assert found.deployed.role_policies(stack, role) == []
        else:
            assert (stack, role) in found.records
            assert found.records[stack, role].calls


def test_every_kind_of_role_is_in_some_combination(proof: Callable[[str], Proof]) -> None:
    kinds = {record.kind for name in COMBINATIONS for record in proof(name).records.values()}
    assert kinds == set(KINDS)


def test_a_denying_bucket_policy_is_heard(proof: Callable[[str], Proof]) -> None:
    """Each bucket refuses what does not come by TLS 1.2, whatever the role's policy says."""
    found = proof("defaults")
    ((stack, role, record),) = found.of_kind("classifier")
    may = found.deployed.role_policies(stack, role)
    of_s3 = [one for one in found.needs(record) if one.action.startswith("s3:")]
    for key, value in (("aws:SecureTransport", "false"), ("s3:TlsVersion", "1.1")):
        weak = [replace(one, context={**one.context, key: value}) for one in of_s3]
        assert len(found.denied(stack, role, weak, may)) == len(of_s3) > 0


def test_every_call_of_an_sdk_client_in_the_runtime_was_recorded(
    proof: Callable[[str], Proof],
) -> None:
    recorded = {
        xform_name(call.operation)
        for name in COMBINATIONS
        for record in proof(name).records.values()
        for call in record.calls
    }
    # boto3's transfers and paginators call other operations, which are recorded.
    assert called_operations() - {"get_paginator", "download_file"} <= recorded
    assert paginated_operations() <= recorded


def called_operations() -> set[str]:
    """Names of methods called in runtime/ that are operations of a service used there."""
    services = {
        node.args[0].value
        for node in _calls()
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "client"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(services) > 5
    operations = {
        xform_name(name)
        for service in services
        for name in sdk_session().get_service_model(str(service)).operation_names
    }
    named = {
        node.attr
        for path in RUNTIME.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    return named & operations


def paginated_operations() -> set[str]:
    return {
        str(node.args[0].value)
        for node in _calls()
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "get_paginator"
        and isinstance(node.args[0], ast.Constant)
    }


def _bucket(arn: str) -> str:
    """Of a bucket or its objects, without the hash that ends a logical id."""
    return re.sub(r"(?<=-files)[0-9a-f]{8}$", "", arn.split(":::")[1].partition("/")[0])


def _calls() -> Iterator[ast.Call]:
    for path in RUNTIME.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                yield node
