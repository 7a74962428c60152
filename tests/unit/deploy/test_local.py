"""Deploying to the embedded cloud."""

from __future__ import annotations

import pytest

from visionstack.deploy import local
from visionstack.errors import UsageError


@pytest.mark.parametrize(
    "context",
    [
        {"waf": "true"},
        {"flow_logs": "true"},
        {"cloudfront_page": "true"},
        {"cold_start": "provisioned", "warm_hours": "9-18=8"},
    ],
)
def test_a_setting_that_the_embedded_cloud_cannot_take_is_refused_before_it_starts(
    context: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(**_: object) -> None:
        raise AssertionError("the embedded cloud was started")

    monkeypatch.setattr(local.lifecycle, "up", started)
    with pytest.raises(UsageError, match="cannot take") as refused:
        local.deploy(context=context)
    assert "on AWS" in str(refused.value.remedy)
