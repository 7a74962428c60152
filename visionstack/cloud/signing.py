"""Signs calls to an API that was deployed with auth=iam: AWS Signature Version 4.

The signature is botocore's own. Credentials are asked for with every request, so that those that
expire (roles, single sign-on) are renewed while a long run goes on.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import UnknownRegionError
from botocore.session import Session

from visionstack.cloud.aws_errors import translated

if TYPE_CHECKING:
    from botocore.credentials import Credentials

SERVICE: Final = "execute-api"
_ADDED: Final = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


class SignedRequests(httpx.Auth):
    """Signs each request's method, address, body, host and content type."""

    requires_request_body = True

    def __init__(self, credentials: Credentials, *, region: str) -> None:
        """`region` is the API's."""
        self._credentials = credentials
        self._region = region

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign `request`. Raises `VisionstackError` when the credentials cannot be renewed."""
        request.headers.update(
            self.headers(
                request.method,
                str(request.url),
                body=request.content,
                content_type=request.headers.get("content-type", ""),
            )
        )
        yield request

    def headers(self, method: str, url: str, *, body: bytes, content_type: str) -> dict[str, str]:
        """The headers that sign such a request now, for callers that are not on httpx.

        Raises:
            VisionstackError: the credentials cannot be renewed.
        """
        # What proxies and HTTP libraries change or add on the way (user agent, connection) is not
        # signed. botocore takes the host from the address, without a default port, as callers do.
        signed = {"Content-Type": content_type} if content_type else {}
        request = AWSRequest(method=method, url=url, data=body, headers=signed)
        with translated("sign a call to the API"):
            # Key, secret and token of one moment: a renewal may come in between.
            frozen = self._credentials.get_frozen_credentials()
            SigV4Auth(frozen, SERVICE, self._region).add_auth(request)
        return {name: request.headers[name] for name in _ADDED if name in request.headers}

    def remedy(self, url: str, *, code: str) -> str:
        """What to do about a 403 of the API at `url` that carried `code`."""
        if code != "forbidden":
            return (
                "The gateway did not take the signature: see that this machine's clock is right"
                " and the credentials are valid (`aws sts get-caller-identity`)."
            )
        try:
            partition = Session().get_partition_for_region(self._region)
        except UnknownRegionError:
            partition = "aws"
        api, dot, _ = (urlsplit(url).hostname or "").partition(f".{SERVICE}.")
        return (
            f"The stack has auth=iam: allow these credentials `{SERVICE}:Invoke` on"
            f" `arn:{partition}:{SERVICE}:{self._region}:*:{api if dot else '*'}/*`, or set"
            " AWS_PROFILE to some that have it."
        )
