"""AWS outside its main partition: other names of hosts and other ARNs."""

from __future__ import annotations

import re
from pathlib import Path

from botocore.regions import EndpointResolver
from botocore.session import Session

from runtime.classifier.credentials import EnvironmentCredentials
from runtime.classifier.s3 import S3Client

CHECKOUT = Path(__file__).resolve().parents[3]
SESSION = Session()


def regions() -> list[str]:
    found = [
        region
        for partition in SESSION.get_available_partitions()
        for region in SESSION.get_available_regions("s3", partition)
    ]
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"} <= set(found)
    return found


def test_every_regions_bucket_has_the_host_that_botocore_would_ask() -> None:
    resolver = EndpointResolver(SESSION.get_data("endpoints"))
    for region in regions():
        client = S3Client(region=region, credentials=EnvironmentCredentials({}))
        suffix = resolver.get_partition_dns_suffix(SESSION.get_partition_for_region(region))
        assert client._locate("b") == ("https", f"b.s3.{region}.{suffix}", "")


SERVICE_PRINCIPAL = re.compile(r'ServicePrincipal\("[a-z0-9.]+\.amazonaws\.com"\)')
"""CDK writes these as the partition wants them."""
CHECK_IP = "checkip.amazonaws.com"
"""One host for everybody: it answers with the caller's address."""


def test_no_source_writes_the_main_partition_out() -> None:
    written = set()
    for folder in ("runtime", "stacks", "visionstack"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            text = SERVICE_PRINCIPAL.sub("", path.read_text(encoding="utf-8"))
            text = text.replace(CHECK_IP, "")
            if "arn:aws:" in text or "amazonaws.com" in text:
                written.add(path.name)
    assert written == {"s3.py"}, "but for the client's table of partitions"
