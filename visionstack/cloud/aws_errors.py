"""boto3's exceptions in this program's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from runtime.protocol.loopback import is_loopback
from visionstack.cloud.clouds import NO_REGION_REMEDY
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
"""Codes of credentials that were good once."""
REJECTED: Final = frozenset(
    {"AuthFailure", "InvalidClientTokenId", "InvalidToken", "UnrecognizedClientException"}
)
"""Codes of credentials that AWS does not know, or no longer."""
THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Codes of calls that come too fast: AWS SDKs and Tools reference guide, "Retry behavior". boto3
has repeated such a call before it passes the error on."""
_SERVER_FAULT: Final = 500
WITHOUT_ACCOUNT: Final = (
    "Without an account: `visionstack local deploy` (both lanes on the embedded cloud), or "
    "`visionstack try` (no cloud)."
)
RENEW: Final = "Renew them (`aws sso login`, or `aws configure`), then run the same command again."


class CredentialsError(VisionstackError):
    """There are no AWS credentials, or AWS no longer takes them: no other call will work either."""


class TemporaryError(VisionstackError):
    """AWS did not answer, or wants to be called more slowly: the same call may work later."""


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn boto3's exceptions into VisionstackError: "Could not {action}: …"."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise CredentialsError(
            f"Could not {action}: there are no AWS credentials.",
            remedy=f"Set AWS_PROFILE or `aws configure`. {WITHOUT_ACCOUNT}",
        ) from error
    except (
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    ) as error:
        raise CredentialsError(f"Could not {action}: {error}", remedy=RENEW) from error
    except exceptions.NoRegionError as error:
        raise VisionstackError(
            f"Could not {action}: no AWS region is set.",
            remedy=f"{NO_REGION_REMEDY} {WITHOUT_ACCOUNT}",
        ) from error
    except exceptions.EndpointConnectionError as error:
        host = urlsplit(str(error.kwargs.get("endpoint_url", ""))).hostname or ""
        remedy = (
            "Look at `visionstack local status`."
            if is_loopback(host)
            else "Is this machine online, and is the region one that AWS has?"
        )
        raise TemporaryError(f"Could not {action}: {error}", remedy=remedy) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise TemporaryError(f"Could not {action}: {error}", remedy="Try again.") from error
    except exceptions.ClientError as error:
        raise _refused(action, error) from error
    except exceptions.BotoCoreError as error:
        raise VisionstackError(f"Could not {action}: {error}") from error


def _refused(action: str, error: ClientError) -> VisionstackError:
    code = error.response.get("Error", {}).get("Code", "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in EXPIRED:
        return CredentialsError(
            f"Could not {action}: the AWS credentials have expired ({code}).", remedy=RENEW
        )
    if code in REJECTED:
        return CredentialsError(
            f"Could not {action}: AWS does not take the credentials ({code}).", remedy=RENEW
        )
    if code in THROTTLED:
        return TemporaryError(
            f"Could not {action}: this account calls AWS too often ({code}), and went on doing so "
            "while the call was repeated.",
            remedy="Wait a minute, then run the same command again.",
        )
    if status >= _SERVER_FAULT:
        return TemporaryError(
            f"Could not {action}: {error}", remedy="That is AWS's trouble; try again later."
        )
    return VisionstackError(f"Could not {action}: {error}")
