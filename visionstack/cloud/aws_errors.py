"""boto3's exceptions in this program's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
            remedy="Set AWS_PROFILE or `aws configure`, or start the embedded cloud with "
            "`visionstack local up`.",
        ) from error
    except exceptions.NoRegionError as error:
        raise VisionstackError(
            f"Could not {action}: no AWS region is set.", remedy=NO_REGION_REMEDY
        ) from error
    except exceptions.EndpointConnectionError as error:
        raise VisionstackError(
            f"Could not {action}: {error}", remedy="Look at `visionstack local status`."
        ) from error
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise VisionstackError(f"Could not {action}: {error}") from error
