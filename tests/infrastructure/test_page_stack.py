"""The page by CloudFront: who reads the bucket, what is sent with it, who admits its origin."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from typing import Any

import pytest

from runtime.classifier.s3 import S3Client
from runtime.contract import Env
from runtime.page_headers import HEADERS
from runtime.streaming.transports.page.serving import _TYPES
from stacks.errors import SettingsError
from stacks.page.files import PAGE_FOLDER, PageFiles, find_runtime
from stacks.settings.model import DeploymentSettings
from tests.infrastructure.conftest import Templates
from tests.infrastructure.deployed import ACCOUNT, Deployed
from tests.unit.classifier.test_s3 import FixedCredentials

PAGE, CLASSIFIER = "visionstack-page", "visionstack-classifier"
ORIGIN = {"Fn::GetStackOutput": {"StackName": PAGE}}


@pytest.fixture(scope="module")
def page(synthesized: Callable[[str], Templates]) -> Templates:
    return synthesized("page")


def test_cloudfront_alone_reads_the_bucket_and_signs_for_it(page: Templates) -> None:
    """Amazon CloudFront Developer Guide, "Restrict access to an Amazon S3 origin"."""
    bucket = page.only(PAGE, "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "WebsiteConfiguration" not in bucket
    access = page.only(PAGE, "AWS::CloudFront::OriginAccessControl")["OriginAccessControlConfig"]
    assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
    (origin,) = page.only(PAGE, "AWS::CloudFront::Distribution")["DistributionConfig"]["Origins"]
    assert origin["S3OriginConfig"] == {"OriginAccessIdentity": ""}
    assert origin["OriginAccessControlId"]
    (policy,) = page.resources(PAGE, "AWS::S3::BucketPolicy")
    (reads,) = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    assert (reads["Action"], reads["Principal"]) == (
        "s3:GetObject",
        {"Service": "cloudfront.amazonaws.com"},
    )
    (distribution,) = page.logical_ids(PAGE, "AWS::CloudFront::Distribution")
    (arn,) = (one["AWS:SourceArn"] for one in reads["Condition"].values())
    assert f'{{"Ref": "{distribution}"}}' in json.dumps(arn)


def test_it_is_https_in_price_class_100_with_the_headers_of_the_server(page: Templates) -> None:
    config = page.only(PAGE, "AWS::CloudFront::Distribution")["DistributionConfig"]
    assert config["PriceClass"] == "PriceClass_100"
    assert config["DefaultRootObject"] == "index.html"
    assert config["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "redirect-to-https"
    (name,) = page.logical_ids(PAGE, "AWS::CloudFront::ResponseHeadersPolicy")
    assert config["DefaultCacheBehavior"]["ResponseHeadersPolicyId"] == {"Ref": name}
    headers = page.only(PAGE, "AWS::CloudFront::ResponseHeadersPolicy")
    given = headers["ResponseHeadersPolicyConfig"]
    custom = {one["Header"]: one["Value"] for one in given["CustomHeadersConfig"]["Items"]}
    own = given["SecurityHeadersConfig"]
    assert own["ContentTypeOptions"] == {"Override": True}
    assert own["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 31_536_000
    custom["Referrer-Policy"] = own["ReferrerPolicy"]["ReferrerPolicy"]
    custom["X-Content-Type-Options"] = "nosniff"
    assert custom == HEADERS


def test_its_policy_admits_the_api_the_uploads_and_the_stream_and_nothing_else(
    page: Templates,
) -> None:
    headers = page.only(PAGE, "AWS::CloudFront::ResponseHeadersPolicy")
    own = headers["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    policy = Deployed(page).value(PAGE, own["ContentSecurityPolicy"]["ContentSecurityPolicy"])
    parts = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    assert parts["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert parts["connect-src"].split() == [
        "'self'",
        "https://*.execute-api.us-east-1.amazonaws.com",
        "https://*.s3.us-east-1.amazonaws.com",
        "https://stream.example.com:8443",
        "wss://stream.example.com:8443",
    ]


def test_uploads_go_to_an_address_that_the_policy_admits() -> None:
    client = S3Client(region="us-east-1", credentials=FixedCredentials(None))
    form = client.presign_post(
        "pictures", "k", content_type="image/png", max_bytes=1, expires_seconds=1
    )
    assert form.url == "https://pictures.s3.us-east-1.amazonaws.com/"


def test_its_origin_alone_is_admitted_by_api_uploads_and_stream(page: Templates) -> None:
    def is_origin(value: Any) -> bool:
        text = json.dumps(value)
        return "https://" in text and f'"StackName": "{PAGE}"' in text and "*" not in text

    (rule,) = (
        rule
        for bucket in page.resources("visionstack-storage", "AWS::S3::Bucket")
        for rule in bucket.get("CorsConfiguration", {}).get("CorsRules", [])
    )
    assert rule["AllowedMethods"] == ["POST"]
    (origin,) = rule["AllowedOrigins"]
    assert is_origin(origin)
    preflights = [
        one
        for one in page.resources(CLASSIFIER, "AWS::ApiGateway::Method")
        if one["HttpMethod"] == "OPTIONS"
    ]
    assert len(preflights) == 4
    for method in preflights:
        (answer,) = method["Integration"]["IntegrationResponses"]
        allowed = answer["ResponseParameters"]["method.response.header.Access-Control-Allow-Origin"]
        assert is_origin(allowed)
    variables = [
        one["Environment"]["Variables"]
        for one in page.resources(CLASSIFIER, "AWS::Lambda::Function")
        if Env.CORS_ORIGIN in one.get("Environment", {}).get("Variables", {})
    ]
    assert [is_origin(one[Env.CORS_ORIGIN]) for one in variables] == [True]
    (template,) = page.resources("visionstack-streaming", "AWS::EC2::LaunchTemplate")
    script = json.dumps(template["LaunchTemplateData"]["UserData"])
    assert f"{Env.STREAM_PAGE_ORIGIN} 'https://" in script


def test_by_default_the_stream_admits_no_other_origin(defaults: Templates) -> None:
    (template,) = defaults.resources("visionstack-streaming", "AWS::EC2::LaunchTemplate")
    assert Env.STREAM_PAGE_ORIGIN not in json.dumps(template)


def test_files_go_before_the_document_that_names_them(page: Templates) -> None:
    copies = [
        one
        for one in page.whole(PAGE, "Custom::CDKBucketDeployment")
        if "DestinationBucketKeyPrefix" not in one["Properties"]
    ]
    (document,) = copies
    assert document["Properties"]["SystemMetadata"] == {"cache-control": "no-cache"}
    others = page.logical_ids(PAGE, "Custom::CDKBucketDeployment")
    assert len(set(others) & set(document["DependsOn"])) == len(others) - 1
    for copy in page.whole(PAGE, "Custom::CDKBucketDeployment"):
        assert copy["Properties"]["Prune"] is False


def test_every_file_is_named_by_all_contents_and_the_document_finds_them() -> None:
    files = PageFiles.of(stream="https://s.example.com:8443", runtime_folder=find_runtime())
    names = {path.name for path in files.files}
    own = {path.name for path in PAGE_FOLDER.iterdir() if path.suffix in _TYPES}
    assert names == own - {"index.html"}
    for name in ("app.js", "style.css", "icon.svg", "protocol.js"):
        assert f'"{files.folder}/{name}"' in files.document
        assert f'="{name}"' not in files.document
    assert '<meta name="stream" content="https://s.example.com:8443">' in files.document
    assert 'content="none"' in PageFiles.of(stream=None, runtime_folder=None).document


def test_another_content_is_another_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = PageFiles.of(stream=None, runtime_folder=None)
    for path in PAGE_FOLDER.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "draw.js").write_text("// other\n")
    monkeypatch.setattr("stacks.page.files.PAGE_FOLDER", tmp_path)
    assert PageFiles.of(stream=None, runtime_folder=None).folder != before.folder


def test_files_get_the_types_that_the_server_gives_them() -> None:
    """By Python's own table, as the AWS CLI that CDK copies with finds them."""
    known = mimetypes.MimeTypes()
    for suffix in (".js", ".mjs", ".css", ".svg", ".mp4", ".wasm", ".html"):
        found = str(known.guess_type(f"a{suffix}")[0])
        # Python 3.11 says application/javascript, which browsers take as well.
        assert (
            found.replace("application/javascript", "text/javascript")
            == (_TYPES[suffix].partition(";")[0])
        )


def test_two_origins_are_refused() -> None:
    with pytest.raises(SettingsError, match="cors_origin") as refused:
        DeploymentSettings.from_context(
            {"cloudfront_page": "true", "cors_origin": "https://a.example.com"}
        )
    assert "leave cors_origin out" in str(refused.value)
    assert DeploymentSettings.from_context({"cloudfront_page": "true", "cors_origin": "*"})


def test_the_copier_serves_this_account_only(page: Templates) -> None:
    (policy,) = page.resources(PAGE, "AWS::S3::BucketPolicy")
    deployed = Deployed(page)
    statement = deployed.value(PAGE, policy["PolicyDocument"]["Statement"][-1]["Condition"])
    (arn,) = (one["AWS:SourceArn"] for one in statement.values())
    assert f":{ACCOUNT}:distribution/" in arn
