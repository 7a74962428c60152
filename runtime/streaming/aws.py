"""What a deployed server asks of AWS: its token, a place for its fingerprint."""

from __future__ import annotations

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from runtime.streaming.errors import SettingsError


def fetch_token(secret: str) -> str:
    """The secret's value. Raises SettingsError when it can't be read or is empty."""
    try:
        answer = boto3.client("secretsmanager").get_secret_value(SecretId=secret)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(f"The token's secret {secret} cannot be read: {error}") from error
    token = str(answer.get("SecretString", "")).strip()
    if not token:
        raise SettingsError(f"The token's secret {secret} is empty.")
    return token


def publish_fingerprint(parameter: str, fingerprint: str) -> None:
    """Put the certificate's fingerprint where clients look for it. Raises SettingsError."""
    try:
        boto3.client("ssm").put_parameter(
            Name=parameter, Value=fingerprint, Type="String", Overwrite=True
        )
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"The fingerprint cannot be published to {parameter}: {error}"
        ) from error
