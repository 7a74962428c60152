"""The REST API before the classifier."""

from __future__ import annotations

from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from runtime.contract import Route
from stacks.constructs.acknowledgment import acknowledge
from stacks.constructs.gateway_errors import GatewayErrors
from stacks.constructs.log_group import ExpiringLogGroup
from stacks.constructs.request_schema import request_schemas
from stacks.constructs.web_acl import WebAcl
from stacks.settings import DeploymentSettings

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
        GatewayErrors(self, "Errors", api=self.api)
        acknowledge(
            self.api.node.find_child("CloudWatchRole"),
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]": "The account's one role for gateway logs;"
                " AWS keeps this policy for it."
            },
        )
        self._add_routes(apigateway.LambdaIntegration(alias, allow_test_invoke=False), settings)
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
        self, integration: apigateway.Integration, settings: DeploymentSettings
    ) -> None:
        signed = settings.auth == "iam"
        kinds = apigateway.AuthorizationType
        authorization = kinds.IAM if signed else kinds.NONE
        validator = self.api.add_request_validator(
            "Validator", validate_request_body=True, validate_request_parameters=True
        )
        schemas = request_schemas()
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
            method = self.api.root.resource_for_path(route).add_method(
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
