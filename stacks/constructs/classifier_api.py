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
from stacks.settings import DeploymentSettings

_STAGE: Final = "v1"
_BINARY: Final = (
    "application/octet-stream",
    *(f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff")),
)


class ClassifierApi(Construct):
    """Four POST routes to one alias, with a throttle, and an API key or signed requests."""

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
        self.api = apigateway.RestApi(
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
        GatewayErrors(self, "Errors", api=self.api)
        signed = settings.auth == "iam"
        integration = apigateway.LambdaIntegration(alias, allow_test_invoke=False)
        for route in (Route.CLASSIFICATION, Route.WAKEUP, Route.IMAGES, Route.RECOGNITIONS):
            method = self.api.root.resource_for_path(route).add_method(
                "POST",
                integration,
                authorization_type=(
                    apigateway.AuthorizationType.IAM
                    if signed
                    else apigateway.AuthorizationType.NONE
                ),
                api_key_required=not signed,
            )
            if not signed:
                acknowledge(method, _KEY_REASONS)
        self.key: apigateway.IApiKey | None = None
        if not signed:
            self.key = self._key(settings)

    def _key(self, settings: DeploymentSettings) -> apigateway.IApiKey:
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


_KEY_REASONS: Final = {
    "AwsSolutions-APIG4": "auth=key is the default of a single-user project: a throttled, counted"
    " key; auth=iam signs every request instead.",
    "AwsSolutions-COG4": "There are no end users to keep in a pool; auth=iam signs every request.",
}
