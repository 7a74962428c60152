"""What the gateway answers when a request does not reach the classifier."""

from __future__ import annotations

import json
from typing import Final

from aws_cdk import aws_apigateway as apigateway
from constructs import Construct

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
    """`code` and `message`, as the classifier's own errors; Retry-After where that helps."""

    def __init__(self, scope: Construct, construct_id: str, *, api: apigateway.RestApi) -> None:
        super().__init__(scope, construct_id)
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
                response_headers=({"Retry-After": "'1'"} if code in _RETRYABLE else None),
                templates={_JSON: body},
            )
