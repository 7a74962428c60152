"""boto3's exceptions in this program's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from runtime.protocol.loopback import is_loopback
from visionstack.cloud.clouds import NO_REGION_REMEDY
from visionstack.errors import VisionstackError


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn boto3's exceptions into VisionstackError: "Could not {action}: …"."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise VisionstackError(
            f"Could not {action}: there are no AWS credentials.",
            remedy="Set AWS_PROFILE or `aws configure`. Without an account: `visionstack local "
            "deploy` (both lanes on the embedded cloud), or `visionstack try` (no cloud).",
        ) from error
    except exceptions.NoRegionError as error:
        raise VisionstackError(
            f"Could not {action}: no AWS region is set.", remedy=NO_REGION_REMEDY
        ) from error
    except exceptions.EndpointConnectionError as error:
        host = urlsplit(str(error.kwargs.get("endpoint_url", ""))).hostname or ""
        remedy = (
            "Look at `visionstack local status`."
            if is_loopback(host)
            else "Is this machine online, and is the region one that AWS has?"
        )
        raise VisionstackError(f"Could not {action}: {error}", remedy=remedy) from error
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise VisionstackError(f"Could not {action}: {error}") from error
