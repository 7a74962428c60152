"""The REST API before the classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

import stacks
from runtime.contract import Route
from stacks.classifier.web_acl import WebAcl
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import ExpiringLogGroup
from stacks.settings.model import DeploymentSettings

_STAGE: Final = "v1"
_BINARY: Final = (
    "application/octet-stream",
    *(f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff")),
)
_ROUTES: Final = {
    "Classification": Route.CLASSIFICATION,
    "Wakeup": Route.WAKEUP,
    "Images": Route.IMAGES,
    "Recognitions": Route.RECOGNITIONS,
}
_CORS_HEADERS: Final = (
    "Content-Type",
    "X-Api-Key",
    "Authorization",
    "X-Amz-Date",
    "X-Amz-Security-Token",
)
"""What a page may send: a picture's type, and a key or a signature."""
_KEY_REASON: Final = {
    "AwsSolutions-APIG4": "auth=key is the default of a single-user project: a throttled, counted"
    " key; auth=iam signs every request instead."
}


class ClassifierApi(Construct):
    """Four POST routes to one alias, with a throttle, and an API key or signed requests.

    JSON bodies are validated at the gateway by the schemas of docs/api/openapi.json.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        alias: lambda_.Alias,
        cors_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        access = ExpiringLogGroup(self, "AccessLogs", days=settings.log_retention_days)
        self.api: apigateway.RestApi = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=f"{settings.prefix}-classifier",
            description="visionstack: classify pictures",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            binary_media_types=list(_BINARY),
            # One role serves all APIs of an account and region, so it must outlive this stack.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=_STAGE,
                throttling_rate_limit=settings.throttle_rate,
                throttling_burst_limit=settings.throttle_burst,
                access_log_destination=apigateway.LogGroupLogDestination(access),
                access_log_format=apigateway.AccessLogFormat.json_with_standard_fields(
                    caller=False,
                    http_method=True,
                    ip=True,
                    protocol=True,
                    request_time=True,
                    resource_path=True,
                    response_length=True,
                    status=True,
                    user=False,
                ),
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                data_trace_enabled=False,
                metrics_enabled=True,
                tracing_enabled=settings.xray,
            ),
        )
        self._own_execution_logs(days=settings.log_retention_days)
        GatewayErrors(self, "Errors", api=self.api, cors_origin=cors_origin)
        acknowledge(
            self.api.node.find_child("CloudWatchRole"),
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]": "The account's one role for gateway logs;"
                " AWS keeps this policy for it."
            },
        )
        self._add_routes(
            apigateway.LambdaIntegration(alias, allow_test_invoke=False),
            settings,
            cors_origin=cors_origin,
        )
        self.key = self._add_key(settings) if settings.auth == "key" else None
        stage = self.api.deployment_stage
        if settings.waf:
            WebAcl(
                self,
                "WebAcl",
                name=f"{settings.prefix}-classifier",
                stage_arn=stage.stage_arn,
                # WAF counts over five minutes.
                rate=max(100, settings.throttle_rate * 300),
            )
        else:
            acknowledge(stage, {"AwsSolutions-APIG3": "waf=true puts a web ACL before the API."})
        if not settings.xray:
            acknowledge(stage, {"Serverless-APIGWXrayEnabled": "xray=true switches tracing on."})

    def _own_execution_logs(self, *, days: int) -> None:
        # The gateway would make this group itself, without retention, and leave it behind.
        name = f"API-Gateway-Execution-Logs_{self.api.rest_api_id}/{_STAGE}"
        logs = ExpiringLogGroup(self, "ExecutionLogs", days=days, name=name)
        self.api.deployment_stage.node.add_dependency(logs)

    def _add_routes(
        self,
        integration: apigateway.Integration,
        settings: DeploymentSettings,
        *,
        cors_origin: str | None,
    ) -> None:
        signed = settings.auth == "iam"
        kinds = apigateway.AuthorizationType
        authorization = kinds.IAM if signed else kinds.NONE
        validator = self.api.add_request_validator(
            "Validator", validate_request_body=True, validate_request_parameters=True
        )
        schemas = request_schemas()
        # CDK's id of a deployment follows what its own constructs make, and CfnModel is none.
        if self.api.latest_deployment is not None:
            self.api.latest_deployment.add_to_logical_id(schemas)
        for name, route in _ROUTES.items():
            models = None
            if route in schemas:
                model = apigateway.CfnModel(
                    self,
                    f"{name}Model",
                    rest_api_id=self.api.rest_api_id,
                    content_type="application/json",
                    schema=schemas[route],
                )
                known = apigateway.Model.from_model_name(self, f"{name}Request", model.ref)
                models = {"application/json": known}
            resource = self.api.root.resource_for_path(route)
            if cors_origin:
                resource.add_cors_preflight(
                    allow_origins=[cors_origin],
                    allow_methods=["POST"],
                    allow_headers=list(_CORS_HEADERS),
                    max_age=Duration.minutes(10),
                )
            method = resource.add_method(
                "POST",
                integration,
                authorization_type=authorization,
                api_key_required=not signed,
                request_models=models,
                request_validator=validator,
            )
            acknowledge(method, {"AwsSolutions-COG4": "No end users; callers hold a key or sign."})
            if not signed:
                acknowledge(method, _KEY_REASON)

    def _add_key(self, settings: DeploymentSettings) -> apigateway.IApiKey:
        key = self.api.add_api_key("Key", description="visionstack: classifier")
        plan = self.api.add_usage_plan(
            "Plan",
            throttle=apigateway.ThrottleSettings(
                rate_limit=settings.throttle_rate, burst_limit=settings.throttle_burst
            ),
            quota=apigateway.QuotaSettings(
                limit=settings.quota_per_day, period=apigateway.Period.DAY
            ),
        )
        plan.add_api_stage(stage=self.api.deployment_stage)
        plan.add_api_key(key)
        return key


# What the gateway answers when a request does not reach the classifier.


_JSON: Final = "application/json"
_ERRORS: Final = {
    "Throttled": (apigateway.ResponseType.THROTTLED, "throttled"),
    "QuotaExceeded": (apigateway.ResponseType.QUOTA_EXCEEDED, "quota_exceeded"),
    "InvalidApiKey": (apigateway.ResponseType.INVALID_API_KEY, "forbidden"),
    "AccessDenied": (apigateway.ResponseType.ACCESS_DENIED, "forbidden"),
    "MissingToken": (apigateway.ResponseType.MISSING_AUTHENTICATION_TOKEN, "forbidden"),
    "BadBody": (apigateway.ResponseType.BAD_REQUEST_BODY, "bad_request"),
    "BadParameters": (apigateway.ResponseType.BAD_REQUEST_PARAMETERS, "bad_request"),
    "TooLarge": (apigateway.ResponseType.REQUEST_TOO_LARGE, "too_large"),
    "UnsupportedType": (apigateway.ResponseType.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    "Timeout": (apigateway.ResponseType.INTEGRATION_TIMEOUT, "timeout"),
    "Failure": (apigateway.ResponseType.INTEGRATION_FAILURE, "unavailable"),
    "ClientDefault": (apigateway.ResponseType.DEFAULT_4_XX, "bad_request"),
    "ServerDefault": (apigateway.ResponseType.DEFAULT_5_XX, "unavailable"),
}
_RETRYABLE: Final = frozenset({"throttled", "timeout", "unavailable"})
_STATUS: Final = {"Failure": "503"}
"""Lambda refused the call, for want of a free environment above all: not 504, which is a call that
took too long. Lambda's own 429 never gets through a REST API: it arrives here, or as
`ServerDefault` with status 500
(https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html)."""


class GatewayErrors(Construct):
    """`code` and `message`, as the classifier's own errors; Retry-After where that helps.

    With `cors_origin` its pages may read them.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: apigateway.RestApi,
        cors_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        allowed = {"Access-Control-Allow-Origin": f"'{cors_origin}'"} if cors_origin else {}
        for name, (response_type, code) in _ERRORS.items():
            # $context.error.messageString is a JSON string with its quotes.
            body = json.dumps({"code": code, "message": 0}).replace(
                "0}", "$context.error.messageString}"
            )
            apigateway.GatewayResponse(
                self,
                name,
                rest_api=api,
                type=response_type,
                status_code=_STATUS.get(name),
                response_headers=allowed | ({"Retry-After": "'1'"} if code in _RETRYABLE else {})
                or None,
                templates={_JSON: body},
            )


# Request schemas for the gateway, read from the API's own document.


_CHECKOUT: Final = Path(__file__).resolve().parents[2] / "docs" / "api" / "openapi.json"
_SHIPPED: Final = Path(stacks.__file__).parent / "shipped" / "openapi.json"
"""The copy in a wheel (pyproject.toml)."""
_DOCUMENT: Final = _CHECKOUT if _CHECKOUT.exists() else _SHIPPED


def request_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 4, the gateway's) of the JSON body of each route that takes one.

    docs/api/openapi.json is the one source: what it says is what the gateway lets through.
    """
    document = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
    schemas = {}
    for route, operations in document["paths"].items():
        content = operations["post"]["requestBody"]["content"]
        if _JSON in content:
            schema = _draft4(content[_JSON]["schema"], document)
            schemas[route] = {"$schema": "http://json-schema.org/draft-04/schema#", **schema}
    return schemas


def _draft4(schema: Any, document: Mapping[str, Any]) -> Any:
    """OpenAPI 3.1's JSON Schema in the older draft's words, references written out."""
    if isinstance(schema, list):
        return [_draft4(entry, document) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _draft4(found, document)
    converted = {
        key: _draft4(value, document) for key, value in schema.items() if key != "examples"
    }
    if "const" in converted:
        converted["enum"] = [converted.pop("const")]
    return converted
