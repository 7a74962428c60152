"""Two versions of a model side by side: how good, how sure, what they know, what they weigh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runtime.inference.artifact import Label, Manifest

_SETTINGS: Final = (
    ("network", ("network", "name")),
    ("starting weights", ("network", "starting_weights")),
    ("temperature", ("calibration", "temperature")),
    ("unknown below", ("unknown", "below")),
    ("data", ("products", "source")),
    ("data hash", ("products", "sha256")),
    ("test part", ("products", "judged_on")),
    ("test data hash", ("products", "judged_sha256")),
    ("seed", ("products", "seed")),
    ("training pictures", ("products", "train")),
    ("validation pictures", ("products", "validation")),
    ("test pictures", ("products", "test")),
)
"""What is shown of a training record, and where it stands there."""
_WORDS: Final = {
    "top1": "test top1",
    "top5": "test top5",
    "ap50": "test AP50",
    "ap50_95": "test AP50-95",
}


@dataclass(frozen=True, slots=True)
class Published:
    """What a bucket tells of one version; `record` is empty where it was not trained here."""

    manifest: Manifest
    labels: tuple[Label, ...]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing in both versions, as text; `-` where a version has none."""

    group: str
    what: str
    old: str
    new: str
    note: str = ""

    @property
    def differs(self) -> bool:
        return self.old != self.new


def differences(old: Published, new: Published) -> list[Row]:
    """Everything that is compared, alike or not, metrics first."""
    return [
        *_metrics(old, new),
        *_classes(old, new),
        *_settings(old, new),
        *_precisions(old, new),
        *_sizes(old, new),
    ]


def _metrics(old: Published, new: Published) -> list[Row]:
    rows = []
    comparable = judged_on(old.record) == judged_on(new.record)
    for key, word in _WORDS.items():
        before, after = _at(old.record, ("test", key)), _at(new.record, ("test", key))
        if before or after:
            verdict = _verdict(before, after, comparable=comparable)
            rows.append(Row("metrics", word, _share(before), _share(after), verdict))
    path = ("calibration", "error_after")
    before, after = _at(old.record, path), _at(new.record, path)
    if before is not None or after is not None:
        rows.append(Row("metrics", "calibration error", _number(before), _number(after)))
    return rows


def _verdict(before: Any, after: Any, *, comparable: bool) -> str:
    """Whether one is established to be better; intervals that overlap decide nothing."""
    if not before or not after:
        return ""
    if not comparable:
        return "other test pictures: not comparable"
    if "low" not in before or "low" not in after:
        return "not established: too few test pictures for an interval"
    if after["low"] > before["high"]:
        return "better"
    if after["high"] < before["low"]:
        return "worse"
    return "not established: the intervals overlap"


def _classes(old: Published, new: Published) -> list[Row]:
    before = {label.id: label.name for label in old.labels}
    after = {label.id: label.name for label in new.labels}
    rows = [Row("classes", "number", str(len(before)), str(len(after)))]
    rows += [Row("classes", one, before[one], "-", "removed") for one in before if one not in after]
    rows += [Row("classes", one, "-", after[one], "added") for one in after if one not in before]
    rows += [
        Row("classes", one, before[one], after[one], "renamed")
        for one in before
        if one in after and before[one] != after[one]
    ]
    return rows


def _settings(old: Published, new: Published) -> list[Row]:
    rows = [
        Row("settings", what, _text(_at(old.record, path)), _text(_at(new.record, path)))
        for what, path in _SETTINGS
        if _at(old.record, path) is not None or _at(new.record, path) is not None
    ]
    ways = [_way(old.record), _way(new.record)]
    if any(ways):
        rows.append(Row("settings", "way", ways[0] or "-", ways[1] or "-"))
    sides = [f"{one.manifest.input.width} x {one.manifest.input.height}" for one in (old, new)]
    rows.append(Row("settings", "input", *sides))
    descriptions = [one.manifest.weights.description for one in (old, new)]
    rows.append(Row("settings", "weights", *descriptions))
    return rows


def _precisions(old: Published, new: Published) -> list[Row]:
    rows = [Row("precision", "stored as", old.manifest.precision, new.manifest.precision)]
    measured = [
        {(one.precision, one.engine): one for one in side.manifest.measured} for side in (old, new)
    ]
    for key in sorted({*measured[0], *measured[1]}):
        texts = []
        for one in (measured[0].get(key), measured[1].get(key)):
            texts.append(
                f"{one.metric} {one.accuracy:.1%}, {one.milliseconds:.1f} ms" if one else "-"
            )
        rows.append(Row("precision", " on ".join(key), *texts))
    return rows


def _sizes(old: Published, new: Published) -> list[Row]:
    before, after = old.manifest.files, new.manifest.files
    rows = [
        Row(
            "size",
            name,
            f"{before[name].bytes:,} bytes" if name in before else "-",
            f"{after[name].bytes:,} bytes" if name in after else "-",
        )
        for name in sorted({*before, *after})
    ]
    totals = [f"{sum(one.bytes for one in files.values()):,} bytes" for files in (before, after)]
    rows.append(Row("size", "all files", *totals))
    flop = [f"{one.manifest.flop / 1e9:.3f}" for one in (old, new)]
    rows.append(Row("size", "GFLOP a picture", *flop))
    return rows


def judged_on(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the test figures were taken on: equal for the same pictures with the same labels.

    A classifier's test part follows from all its pictures and the seed; a detector's is its own.
    """
    own = _at(record, ("products", "judged_sha256"))
    if own is not None:
        return own, None
    return _at(record, ("products", "sha256")), _at(record, ("products", "seed"))


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = record
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _way(record: Mapping[str, Any]) -> str:
    for way in record.get("ways", ()):
        if way.get("chosen"):
            return str(way.get("name", ""))
    return ""


def _share(value: Any) -> str:
    if not value:
        return "-"
    spread = f" ({value['low']:.1%} to {value['high']:.1%})" if "low" in value else ""
    return f"{value['share']:.1%}{spread}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
