"""The Grafana dashboard asks for what the stream servers export, and for all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from runtime.streaming.host.metrics import Metrics

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def test_every_metric_of_the_dashboard_is_exported_and_every_exported_one_is_shown() -> None:
    metrics = Metrics()
    metrics.latency.labels("m").observe(0.1)
    metrics.batch_size.labels("m").observe(1)
    for counter in (metrics.frames, metrics.engine_failures, metrics.engine_busy):
        counter.labels("m").inc()
    metrics.answers.labels("m", "found").inc()
    metrics.reloads.labels("m", "loaded").inc()
    metrics.closes.labels("1").inc()
    metrics.gpu_busy.labels("0").set(0.5)
    exported = {
        sample.name: sample.labels
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    dashboard = json.loads((CHECKOUT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    expressions = [one["expr"] for panel in dashboard["panels"] for one in panel["targets"]]
    asked = {name for text in expressions for name in re.findall(r"visionstack_\w+", text)}
    assert asked <= set(exported)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
    assert families == {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    given = {"instance"} | {label for labels in exported.values() for label in labels}
    for text in expressions:
        for labels in re.findall(r"by \(([^)]*)\)", text):
            assert set(re.split(r", ", labels)) <= given


def test_panels_lie_side_by_side() -> None:
    dashboard = json.loads((CHECKOUT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert len({(one["x"], one["y"]) for one in places}) == len(places) == 12
    assert all(one["x"] + one["w"] <= 24 for one in places)
