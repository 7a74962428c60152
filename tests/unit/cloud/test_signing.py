"""Calls to an API with auth=iam are signed; those to one with a key, and uploads, are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import httpx
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.stub import Stubber

from runtime.contract import Output
from visionstack.classify.client import ClassifierClient, ClassifierError
from visionstack.classify.many import Failure, classify_all
from visionstack.cloud.deployment import Deployment
from visionstack.cloud.signing import SERVICE, SignedRequests
from visionstack.errors import VisionstackError

URL = "https://abc123.execute-api.eu-central-1.amazonaws.com/v1"
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
CREDENTIALS = Credentials("AKIDEXAMPLE", "a secret", "a token")
ADDED = {"authorization", "x-amz-date", "x-amz-security-token"}


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOON)


class Api:
    """API and S3 in one: keeps its requests, and answers with one status."""

    def __init__(self, status: int = 200, **refusal: str) -> None:
        self.status = status
        self.refusal = refusal
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host == "s3.test":
            return httpx.Response(204)
        form = {"url": "https://s3.test/", "fields": {"key": "k"}}
        answer = {"file_path": "p/b.jpg", "upload": form}
        return httpx.Response(self.status, json=self.refusal or answer)


def client_of(api: Api, *, key: str = "", signing: SignedRequests | None) -> ClassifierClient:
    return ClassifierClient(URL, key, signing=signing, transport=httpx.MockTransport(api))


def signing_with(credentials: Credentials = CREDENTIALS) -> SignedRequests:
    return SignedRequests(credentials, region="eu-central-1")


def by_botocore(request: httpx.Request) -> dict[str, str]:
    """What botocore's own signer gives the same request, its host among what is signed."""
    headers = {name: request.headers[name] for name in ("host", "content-type")}
    theirs = AWSRequest(request.method, str(request.url), headers, data=request.content)
    botocore.auth.SigV4Auth(CREDENTIALS, SERVICE, "eu-central-1").add_auth(theirs)
    return {name.lower(): str(theirs.headers[name]) for name in theirs.headers.keys()}  # noqa: SIM118


def signed(url: str, body: bytes) -> httpx.Request:
    request = httpx.Request("POST", url, content=body, headers={"content-type": "image/jpeg"})
    return next(signing_with().auth_flow(request))


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("query", ["", "?b=2&a=1%202&a=0"])
@pytest.mark.parametrize("body", [b"", b"\xff\xd8 a picture"])
def test_the_signature_is_botocores_for_the_same_moment(query: str, body: bytes) -> None:
    request = signed(f"{URL}/recognitions{query}", body)
    theirs = by_botocore(request)
    assert {name: request.headers[name] for name in ADDED} == {name: theirs[name] for name in ADDED}
    assert request.headers["x-amz-date"] == "20261121T120000Z"
    assert "/20261121/eu-central-1/execute-api/aws4_request" in request.headers["authorization"]


@pytest.mark.usefixtures("noon")
def test_another_body_query_or_path_is_another_signature() -> None:
    requests = [("/a", b"1"), ("/a", b"2"), ("/b", b"1"), ("/a?c=1", b"1"), ("/a?c=2", b"1")]
    made = {signed(URL + path, body).headers["authorization"] for path, body in requests}
    assert len(made) == len(requests)


@pytest.mark.usefixtures("noon")
def test_a_signing_client_signs_what_it_sends_and_sends_no_key() -> None:
    api = Api()
    client_of(api, signing=signing_with()).wakeup(800)
    (request,) = api.requests
    assert request.headers["authorization"] == by_botocore(request)["authorization"]
    assert json.loads(request.content)["method"] == "wakeup"
    assert "x-api-key" not in request.headers


def test_an_upload_by_presigned_form_carries_no_signature_of_ours() -> None:
    api = Api()
    client_of(api, signing=signing_with()).upload(b"jpeg", "image/jpeg", name="b.jpg")
    asked, uploaded = api.requests
    assert "authorization" in asked.headers
    assert uploaded.url.host == "s3.test"
    assert not (ADDED | {"x-api-key"}) & set(uploaded.headers)


def test_a_client_with_a_key_sends_it_and_signs_nothing() -> None:
    api = Api()
    client_of(api, key="the key", signing=None).wakeup(0)
    (request,) = api.requests
    assert request.headers["x-api-key"] == "the key"
    assert not ADDED & set(request.headers)


def test_credentials_that_expire_are_renewed_between_two_calls() -> None:
    now = NOON - timedelta(hours=4)

    def renewed() -> dict[str, str]:
        later = (NOON + timedelta(hours=6)).isoformat()
        return {"access_key": "NEW", "secret_key": "s", "token": "t", "expiry_time": later}

    credentials = RefreshableCredentials(
        "OLD", "s", "t", NOON, renewed, "test", time_fetcher=lambda: now
    )
    api = Api()
    with client_of(api, signing=signing_with(credentials)) as client:
        client.wakeup(0)
        now = NOON - timedelta(minutes=1)
        client.wakeup(0)
    used = [request.headers["authorization"] for request in api.requests]
    assert ["Credential=OLD/" in used[0], "Credential=NEW/" in used[1]] == [True, True]


def test_credentials_that_cannot_be_had_are_an_error_with_a_reason() -> None:
    class Gone(Credentials):
        def get_frozen_credentials(self) -> Any:
            raise CredentialRetrievalError(provider="sso", error_msg="the token has expired")

    api = Api()
    with pytest.raises(ClassifierError, match=r"sign a call.*token has expired") as caught:
        client_of(api, signing=signing_with(Gone("a", "b"))).wakeup(0)
    assert caught.value.code == "no_credentials"
    assert api.requests == []


def refused(signing: SignedRequests | None, **refusal: str) -> ClassifierError:
    with pytest.raises(ClassifierError) as caught:
        client_of(Api(403, **refusal), signing=signing).wakeup(0)
    return caught.value


def test_a_refused_caller_is_told_which_right_is_missing_on_which_api() -> None:
    error = refused(signing_with(), code="forbidden", message="User is not authorized")
    assert "User is not authorized" in str(error)
    assert error.remedy is not None
    assert "`execute-api:Invoke`" in error.remedy
    assert "arn:aws:execute-api:eu-central-1:*:abc123/*" in error.remedy


def test_the_right_is_named_in_the_regions_own_partition() -> None:
    signing = SignedRequests(CREDENTIALS, region="cn-north-1")
    remedy = signing.remedy(
        "https://abc.execute-api.cn-north-1.amazonaws.com.cn/v1", code="forbidden"
    )
    assert "arn:aws-cn:execute-api:cn-north-1:*:abc/*" in remedy


def test_a_refused_picture_keeps_what_to_do_about_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    api = Api(403, code="forbidden", message="User is not authorized")
    with client_of(api, signing=signing_with()) as client:
        (failure,) = classify_all(client, [tmp_path / "a.jpg"], concurrency=1)
    assert isinstance(failure, Failure)
    assert failure.code == "forbidden"
    assert "execute-api:Invoke" in str(failure.remedy)


def test_a_signature_that_was_not_taken_points_at_clock_and_credentials() -> None:
    error = refused(signing_with(), code="bad_request", message="Signature expired")
    assert error.remedy is not None
    assert "clock" in error.remedy
    assert "execute-api:Invoke" not in error.remedy


def test_a_caller_with_a_wrong_key_is_told_about_the_key() -> None:
    assert "API key" in str(refused(None, code="forbidden", message="Forbidden").remedy)


class Session:
    """As much of a boto3 session as a deployment needs, its services stubbed."""

    region_name = "eu-central-1"

    def __init__(self, credentials: Credentials | None, clients: dict[str, Any]) -> None:
        self._credentials = credentials
        self._clients = clients

    def client(self, service: str) -> Any:
        return self._clients[service]

    def get_credentials(self) -> Credentials | None:
        return self._credentials


@contextmanager
def deployed(*, key: bool, credentials: Credentials | None = CREDENTIALS) -> Iterator[Deployment]:
    """A deployment on AWS whose classifier stack has an API key or not."""
    real = boto3.Session("AKIDEXAMPLE", "a secret", region_name="eu-central-1")
    clients: dict[str, Any] = {
        "cloudformation": real.client("cloudformation"),
        "apigateway": real.client("apigateway"),
    }
    outputs = [{"OutputKey": Output.API_URL, "OutputValue": URL + "/"}]
    if key:
        outputs.append({"OutputKey": Output.API_KEY_ID, "OutputValue": "k1"})
    stack = {
        "StackName": "p-classifier", "CreationTime": NOON,
        "StackStatus": "CREATE_COMPLETE", "Outputs": outputs,
    }  # fmt: skip
    deployment = Deployment(cloud="aws", prefix="p", endpoint_url=None)
    deployment.__dict__["session"] = Session(credentials, clients)
    with Stubber(clients["cloudformation"]) as stacks, Stubber(clients["apigateway"]) as keys:
        stacks.add_response("describe_stacks", {"Stacks": [stack]})
        if key:
            keys.add_response("get_api_key", {"value": "the key"})
        yield deployment


def test_a_stack_without_an_api_key_is_called_with_signatures() -> None:
    with deployed(key=False) as deployment:
        api = deployment.classifier_api()
    assert (api.url, api.key) == (URL, "")
    assert api.signing is not None
    made = api.signing.headers("POST", URL, body=b"", content_type="")
    assert "Credential=AKIDEXAMPLE/" in made["Authorization"]
    assert "/eu-central-1/execute-api/" in made["Authorization"]


def test_without_credentials_a_stack_without_an_api_key_says_so() -> None:
    with (
        deployed(key=False, credentials=None) as deployment,
        pytest.raises(VisionstackError, match="no AWS credentials"),
    ):
        deployment.classifier_api()


def test_a_stack_with_an_api_key_is_called_with_it() -> None:
    with deployed(key=True) as deployment:
        api = deployment.classifier_api()
    assert (api.url, api.key, api.signing) == (URL, "the key", None)
