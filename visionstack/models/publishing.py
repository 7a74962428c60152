"""Artifacts to S3: the files first, the manifest after them, the `current` pointer last.

A version's objects are never written again, so a reader that follows `current` finds all of it.
"""

from __future__ import annotations

from typing import Any

from runtime.contract import MODELS_PREFIX
from runtime.inference.artifact import MANIFEST, Artifact
from visionstack.models.downloads import Say
from visionstack.models.errors import ModelError
from visionstack.models.versions import Versions


def publish(
    artifact: Artifact,
    *,
    client: Any,
    bucket: str,
    promote: bool = True,
    say: Say = lambda _: None,
) -> bool:
    """Upload a checked artifact by a boto3 S3 client and, with `promote`, make it current.

    False when the version was there already.

    Raises `ModelError` when S3 refuses, and when the version is deleted or another becomes current
    meanwhile.
    """
    manifest = artifact.manifest
    prefix = f"{MODELS_PREFIX}{manifest.name}/{manifest.version}/"
    versions = Versions(client, bucket, manifest.name)
    try:
        since = versions.before_upload(manifest.version)
        # One that was deleted may still have files whose deletion was announced.
        fresh = not _exists(client, bucket, prefix + MANIFEST) or versions.collected(
            manifest.version
        )
        if fresh:
            for name in manifest.files:
                say(f"publishing {manifest.name}: {name}")
                client.upload_file(str(artifact.folder / name), bucket, prefix + name)
            # The manifest comes last: a version that has one is complete.
            client.upload_file(str(artifact.folder / MANIFEST), bucket, prefix + MANIFEST)
        if promote:
            versions.promote(manifest.version, anyway=True, action="publish", since=since)
        else:
            versions.uploaded(manifest.version, since=since)
    except ModelError:
        raise
    except Exception as error:  # botocore makes its error classes at run time
        raise ModelError(
            f"{manifest.name} could not be published to s3://{bucket}/{prefix}: {error}.",
            remedy="Check the credentials, the bucket and the connection.",
        ) from error
    return fresh


def _exists(client: Any, bucket: str, key: str) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key)
    except Exception as error:
        response = getattr(error, "response", None) or {}
        if response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True
