"""The part of the AWS command line that an instance's user data uses: `aws s3 cp SOURCE TARGET`.

Runs by itself in the embedded cloud's environment, which has boto3 and nothing of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

USAGE: Final = "this aws only knows: aws s3 cp s3://BUCKET/KEY FILE, and the other way round"


def main(arguments: list[str]) -> int:
    """Copy one object; exit code 1 when S3 refuses, 252 (as the real one) for wrong usage."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    words = [word for word in arguments if not word.startswith("--")]
    if words[:2] != ["s3", "cp"] or len(words) != 4:
        sys.stderr.write(f"{USAGE}\n")
        return 252
    source, target = (urlsplit(word) for word in words[2:])
    s3 = boto3.client("s3")
    try:
        if source.scheme == "s3" and target.scheme != "s3":
            s3.download_file(source.netloc, source.path.lstrip("/"), words[3])
        elif target.scheme == "s3" and source.scheme != "s3":
            key = target.path.lstrip("/")
            if not key or key.endswith("/"):
                key += Path(words[2]).name
            s3.upload_file(words[2], target.netloc, key)
        else:
            sys.stderr.write(f"{USAGE}\n")
            return 252
    except (BotoCoreError, ClientError, OSError) as error:
        sys.stderr.write(f"copy failed: {words[2]} to {words[3]}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
