"""The user data of an instance: fetch the asset, write its settings, install, start."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2

from runtime.contract import Env

_SCRIPT = """\
set -euo pipefail
ROOT="${{{root}:-/opt/visionstack}}"
export {root}="$ROOT" AWS_DEFAULT_REGION="${{AWS_DEFAULT_REGION:-{region}}}"
{first}mkdir -p "$ROOT"
aws s3 cp "{asset}" "$ROOT/asset.zip"
python3 -m zipfile -e "$ROOT/asset.zip" "$ROOT"
rm -f "$ROOT/asset.zip"
# A variable that is already set wins over what was deployed.
setting() {{ printf '%s=%s\\n' "$1" "${{!1:-$2}}"; }}
{{
  setting {root} "$ROOT"
  setting AWS_DEFAULT_REGION "$AWS_DEFAULT_REGION"
{settings}
}} > "$ROOT/stream.env"
bash "$ROOT/bin/install.sh"
exec bash "$ROOT/bin/{start}"
"""


def instance_script(
    *,
    asset_url: str,
    environment: Mapping[str, str],
    start: str = "start.sh",
    first: str = "",
) -> ec2.UserData:
    """One bash script, as docs/architecture.md describes it.

    `asset_url` is an `s3://` address of the zip; `environment` goes to `$ROOT/stream.env`; `first`
    is run before anything else, and `start` of the asset last. Values may be CloudFormation tokens;
    none may hold a single quote.
    """
    user_data = ec2.UserData.for_linux()
    settings = "\n".join(f"  setting {name} '{value}'" for name, value in environment.items())
    user_data.add_commands(
        _SCRIPT.format(
            root=Env.ROOT,
            region=Aws.REGION,
            first=first,
            asset=asset_url,
            settings=settings,
            start=start,
        )
    )
    return user_data
