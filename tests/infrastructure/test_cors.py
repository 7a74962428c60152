"""Which web pages may call the serverless lane."""

from __future__ import annotations

from typing import Any

CLASSIFIER, STORAGE = "visionstack-classifier", "visionstack-storage"
PAGE = "https://203.0.113.7:8443"
METHOD = "AWS::ApiGateway::Method"
ANSWER = "AWS::ApiGateway::GatewayResponse"


def preflights(templates: Any) -> list[dict[str, Any]]:
    methods = templates.resources(CLASSIFIER, METHOD)
    return [method for method in methods if method["HttpMethod"] == "OPTIONS"]


def test_no_page_may_call_it_by_default(defaults: Any) -> None:
    assert preflights(defaults) == []
    for answer in defaults.resources(CLASSIFIER, ANSWER):
        assert "Access-Control" not in str(answer.get("ResponseParameters"))
    for bucket in defaults.resources(STORAGE, "AWS::S3::Bucket"):
        assert "CorsConfiguration" not in bucket


def test_every_route_answers_the_preflight_of_the_named_page(gpu: Any) -> None:
    assert len(preflights(gpu)) == 4
    for method in preflights(gpu):
        assert not method.get("ApiKeyRequired")
        (answer,) = method["Integration"]["IntegrationResponses"]
        given = answer["ResponseParameters"]
        prefix = "method.response.header.Access-Control-Allow-"
        assert given[f"{prefix}Origin"] == f"'{PAGE}'"
        assert given[f"{prefix}Methods"] == "'POST'"
        assert "x-api-key" in given[f"{prefix}Headers"].lower()


def test_the_page_may_read_what_the_gateway_itself_answers(gpu: Any) -> None:
    header = "gatewayresponse.header.Access-Control-Allow-Origin"
    answers = gpu.resources(CLASSIFIER, ANSWER)
    assert len(answers) > 10
    assert {answer["ResponseParameters"][header] for answer in answers} == {f"'{PAGE}'"}
    retried = [one for one in answers if one["ResponseType"] == "THROTTLED"]
    assert "gatewayresponse.header.Retry-After" in retried[0]["ResponseParameters"]


def test_the_page_may_upload_to_the_pictures_and_to_nothing_else(gpu: Any) -> None:
    buckets = gpu.resources(STORAGE, "AWS::S3::Bucket")
    rules = [one["CorsConfiguration"]["CorsRules"] for one in buckets if "CorsConfiguration" in one]
    assert [
        [(rule["AllowedOrigins"], rule["AllowedMethods"]) for rule in one] for one in rules
    ] == [[([PAGE], ["POST"])]]
